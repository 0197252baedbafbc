"""Tables and the chart of `docs/performance.md`, made of the figures of runs.

.venv/bin/python -m bench.stage.report bench/results/stage.json
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from bench.stage.chart import Bar, draw

BEGIN: Final = "<!-- stage: written by `python -m bench.stage.report` -->"
END: Final = "<!-- stage ends -->"
CHART: Final = "performance-stage.svg"


class Spread(NamedTuple):
    """What was found in the rounds."""

    low: float
    mid: float
    high: float


class Aim(NamedTuple):
    """A ratio of two systems in the same round, and how high it should be."""

    what: str
    figure: str
    system: str
    other: str
    at_least: float


AIMS: Final = (
    Aim("events per CPU-second to Kafka Streams'", "events_per_cpu_second", "ours-1", "streams-1", 2),
    Aim("the same, 2 processes to 2 threads", "events_per_cpu_second", "ours-2", "streams-2", 2),
    Aim("the same, to exactly-once", "events_per_cpu_second", "ours-2", "streams-eos", 2),
    Aim(
        "events/s of 2 processes to 2 threads of Kafka Streams",
        "events_per_second",
        "ours-2",
        "streams-2",
        1.2,
    ),
    Aim("events/s of 1 process to Quix Streams'", "events_per_second", "ours-1", "quix", 2.5),
    Aim("events/s of 1 process to Bytewax'", "events_per_second", "ours-1", "bytewax", 2.5),
    Aim("events/s of 1 process to stock Faust's", "events_per_second", "ours-1", "faust", 40),
)
MOST_MB: Final = 200


def spread(values: list[float]) -> Spread:
    """Give the least, the middle and the most."""
    return Spread(min(values), median(values), max(values))


def of_system(runs: list[dict[str, Any]], system: str, figure: str) -> Spread:
    """Give the spread of a figure over a system's rounds."""
    return spread([one[figure] for one in runs if one["system"] == system])


def ratios(runs: list[dict[str, Any]], aim: Aim) -> Spread | None:
    """Give the spread of a ratio, each taken within a round; None if one of the two was not measured."""
    by_round = {(one["system"], one["round"]): one[aim.figure] for one in runs}
    found = [
        value / by_round[aim.other, number]
        for (system, number), value in by_round.items()
        if system == aim.system and (aim.other, number) in by_round
    ]
    return spread(found) if found else None


def systems_table(figures: dict[str, Any]) -> list[str]:
    """Give the table of what each system did, as markdown."""
    lines = [
        (
            "| system | events/s | CPU an event, µs | events per CPU-second | cores busy "
            "| peak MB a process | start, s |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    runs = figures["runs"]
    for name, title in figures["titles"].items():
        rate, cpu, per_cpu, cores, peak, start = (
            of_system(runs, name, figure)
            for figure in (
                "events_per_second",
                "cpu_us_per_event",
                "events_per_cpu_second",
                "cores_busy",
                "peak_mb",
                "startup_seconds",
            )
        )
        lines.append(
            f"| {title} | {rate.mid:,.0f} ({rate.low:,.0f}-{rate.high:,.0f}) "
            f"| {cpu.mid:.1f} ({cpu.low:.1f}-{cpu.high:.1f}) | {per_cpu.mid:,.0f} | {cores.mid:.2f} "
            f"| {peak.high:.0f} | {start.mid:.1f} |"
        )
    return lines


def aims_table(runs: list[dict[str, Any]]) -> list[str]:
    """Give the table of ratios and aims, as markdown."""
    lines = ["| | least | middle | most | aim | |", "|---|---:|---:|---:|---:|---|"]
    for aim in AIMS:
        found = ratios(runs, aim)
        if found:
            reached = "reached" if found.mid >= aim.at_least else "missed"
            lines.append(
                f"| {aim.what} | {found.low:.2f} | {found.mid:.2f} | {found.high:.2f} "
                f"| {aim.at_least} | {reached} |"
            )
    peaks = spread([one["peak_mb"] for one in runs if one["system"].startswith("ours")])
    reached = "reached" if peaks.high < MOST_MB else "missed"
    lines.append(
        f"| peak memory of a process of ours, MB | {peaks.low:.0f} | {peaks.mid:.0f} | {peaks.high:.0f} "
        f"| below {MOST_MB} | {reached} |"
    )
    return lines


def section(figures: dict[str, Any]) -> str:
    """Give what stands between the marks."""
    workload, machine = figures["workload"], figures["machine"]
    rounds = 1 + max(one["round"] for one in figures["runs"])
    fewer = ", ".join(
        f"{figures['titles'][name]}: {count:,}"
        for name, count in {one["system"]: one["events"] for one in figures["runs"]}.items()
        if count != workload["events"]
    )
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    return "\n".join(
        [
            (
                f"{workload['events']:,} events of {workload['bytes_per_event']} bytes ({fewer}), "
                f"{workload['customers']:,} customers, {workload['partitions']} partitions, {rounds} rounds; "
                f"{machine['cores']} cores that the broker shares. "
                f"Middle of the rounds, with least and most; measured {figures['at'][:10]}."
            ),
            "",
            *systems_table(figures),
            "",
            f"![Events per second and per CPU-second of each system]({CHART})",
            "",
            "Ratios, each within a round:",
            "",
            *aims_table(figures["runs"]),
            "",
            f"Versions: {versions}.",
        ]
    )


def bars(figures: dict[str, Any], figure: str) -> list[Bar]:
    """Give the bars of a figure, those of this engine marked."""
    return [
        Bar(title, *of_system(figures["runs"], name, figure), marked=name.startswith("ours"))
        for name, title in figures["titles"].items()
        if name != "consume"  # the other bars would be too short to see
    ]


def write_report(figures: dict[str, Any], docs: Path) -> None:
    """Write the section of performance.md between its marks, and the chart."""
    page = docs / "performance.md"
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{section(figures)}\n\n{END}{after}")
    panels = {
        "events per second": bars(figures, "events_per_second"),
        "events per CPU-second": bars(figures, "events_per_cpu_second"),
    }
    (docs / CHART).write_text(draw(panels))


if __name__ == "__main__":
    write_report(json.loads(Path(sys.argv[1]).read_text()), Path(__file__).parents[2] / "docs")
