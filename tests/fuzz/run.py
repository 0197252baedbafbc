"""Hostile records through cleaning, as many as wanted: `python tests/fuzz/run.py --inputs 1000000`."""

import argparse
import random
import sys
import time
from collections import Counter

from judge import hostile_records, judge

BATCH = 400


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    reasons: Counter[str] = Counter()
    started, shown = time.monotonic(), 0.0
    for number in range(0, arguments.inputs, BATCH):
        seed = arguments.seed * 10**9 + number
        rng = random.Random(seed)
        try:
            for stream, records in hostile_records(rng, min(BATCH, arguments.inputs - number)).items():
                if records:
                    # The schema is as slow as ten times all the rest: one batch in twenty looks at it.
                    reasons += judge(stream, records, thorough=number // BATCH % 20 == 0).reasons
        except Exception:
            print(f"failed with the batch of seed {seed}", file=sys.stderr)
            raise
        elapsed = time.monotonic() - started
        if elapsed - shown > 10:
            shown = elapsed
            print(f"{sum(reasons.values()):,} records in {elapsed:.0f} s", file=sys.stderr)
    print(f"{sum(reasons.values()):,} records in {time.monotonic() - started:.0f} s")
    for reason, count in reasons.most_common():
        print(f"  {reason:20} {count:9,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
