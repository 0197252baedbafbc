"""The demonstration: a bounded run of the whole path, checked from end to end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import CONFIGURATION, UserError
from pipeline.gold.build import GoldRun, build_gold
from pipeline.local.platform import LocalPlatform
from pipeline.reconcile import Reconciliation, oracle_config, reconcile
from pipeline.sending import Stopping, make_writer
from pipeline.status import Status, look, wait_idle
from pipeline.verify import Report, check_conservation
from producer.ledger import LedgerWriter
from producer.run import ProduceConfig, Summary, now, produce

THROUGH_SECONDS = 600.0


@dataclass
class DemoResult:
    """What the demonstration found. Seconds by phase; `failures` says what is not as it must be."""

    config: ProduceConfig
    ledger: Path
    seconds: dict[str, float] = field(default_factory=dict)
    sent: Summary = field(default_factory=Summary)
    status: Status | None = None
    gold: GoldRun | None = None
    report: Report | None = None
    reconciliation: Reconciliation | None = None

    @property
    def failures(self) -> list[str]:
        """What is wrong, one line each; empty when every row of silver is as it must be."""
        found: list[str] = []
        if self.reconciliation and not self.reconciliation.agrees:
            found += map(str, self.reconciliation.differences)
        if self.report and not self.report.is_conserved:
            found.append("what arrived is not conserved: see `pipeline verify`")
        if self.gold and self.gold.status != "success":
            found.append(f"gold: {self.gold.status} {self.gold.message}")
        return found


def run_demo(
    platform: LocalPlatform,
    config: ProduceConfig,
    *,
    say: Callable[[str], None],
    progress: Callable[[int], None] = lambda _: None,
) -> DemoResult:
    """Produce, wait until all is through, build gold and check; the workers run already.

    Raises:
        UserError: a part does not answer, or not everything is through in time.
    """
    settings = platform.settings
    result = DemoResult(
        config, settings.home / "ledger" / f"demo-{config.end:%Y%m%dT%H%M%S}-{config.seed}.jsonl"
    )
    began = now()  # a home may hold what other runs have sent
    say(f"sending {config.count} records of a synthetic shop: {config.days:g} days, seed {config.seed}")
    with _timed(result, "producing"), LedgerWriter(result.ledger) as ledger:
        produce(config, make_writer(settings, Stopping()), ledger, summary=result.sent, progress=progress)
    say("waiting until all of it is in silver")
    with _timed(result, "processing"):
        _wait_until_through(platform)
    result.status = look(settings)
    say("building gold")
    with _timed(result, "gold"):
        result.gold = build_gold(settings)
    say("checking every row of silver against what was sent")
    with _timed(result, "checks"):
        result.report = check_conservation(platform.postgres_url)
        result.reconciliation = reconcile(
            platform.postgres_url, result.ledger, oracle_config(settings), others_until=began
        )
    return result


def _wait_until_through(platform: LocalPlatform) -> None:
    settings = platform.settings

    def check_workers() -> None:
        for name, state in platform.states().items():
            # Also what is about to be started again is EXITED for a moment; these two codes are for good.
            if state.state == "EXITED" and state.exit_code in (0, CONFIGURATION):
                raise UserError(f"{name} has stopped with {state.exit_code}: see {platform.log_file(name)}")

    if not wait_idle(settings, THROUGH_SECONDS, meanwhile=check_workers):
        raise UserError(
            f"not everything is through after {THROUGH_SECONDS:.0f} s: see the logs in {settings.home}"
        )


@contextmanager
def _timed(result: DemoResult, phase: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    result.seconds[phase] = time.monotonic() - began
