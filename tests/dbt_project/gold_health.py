"""The rows of gold that are about services, by minute."""

from collections import defaultdict
from math import floor
from typing import Any

from gold_comparison import Expected, Key
from gold_sums import Sums


def system_health(sums: Sums) -> Expected:
    lines: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for line in sums.reference.seen(sums.reference.world.system_logs, "occurred_at"):
        lines[line["occurred_at"].replace(second=0, microsecond=0), line["service"]].append(line)
    rows: dict[Key, dict[str, Any]] = {}
    for key, of_minute in lines.items():
        latencies = sorted(line["latency_ms"] for line in of_minute if line.get("latency_ms") is not None)
        rows[key] = {
            "logs": len(of_minute),
            "errors": sum(line["level"] in ("error", "critical") for line in of_minute),
            "latency_ms_p50": _percentile(latencies, 0.5),
            "latency_ms_p95": _percentile(latencies, 0.95),
        }
    return Expected(("minute", "service"), rows)


def _percentile(ordered: list[float], share: float) -> float | None:
    """Give what lies at a share of the way from the least to the most, between the two next to it."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
