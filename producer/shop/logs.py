"""What the shop's systems log: latencies that follow the load, and incidents with bursts of errors."""

import random
from dataclasses import dataclass
from typing import Final, Literal

from producer.shop.draws import DAY, MINUTE, Weighted, draw_uuid, instant
from streams.events import Log

SERVICES: Final = Weighted(
    [
        (("web", 45.0), 36),
        (("api", 30.0), 26),
        (("search", 70.0), 12),
        (("checkout", 120.0), 9),
        (("payments", 260.0), 7),
        (("recommendations", 55.0), 6),
        (("mailer", 90.0), 4),
    ]
)
"""Each with its usual latency in milliseconds."""

_CAUSES: Final = ("connection pool exhausted", "upstream timed out", "deadlock detected", "disk is slow")


@dataclass(frozen=True)
class Incident:
    """A service in trouble for a while; instants in seconds since 1970."""

    service: str
    start: float
    end: float
    cause: str


def plan_incidents(rng: random.Random, start: float, end: float) -> list[Incident]:
    """Plan one incident in about eight days, at least one."""
    incidents = []
    for _ in range(max(1, round((end - start) / (8 * DAY)))):
        at = rng.uniform(start, end)
        length = min(rng.uniform(20, 90) * MINUTE, (end - start) / 20)
        incidents.append(Incident(SERVICES.draw(rng)[0], at, at + length, rng.choice(_CAUSES)))
    return incidents


def incident_at(incidents: list[Incident], at: float) -> Incident | None:
    """Give the incident of an instant, if there is one."""
    return next((i for i in incidents if i.start <= at < i.end), None)


def draw_log(rng: random.Random, at: float, load: float, incident: Incident | None) -> Log:
    """Draw a line that some service logs at an instant, at so much load (1 is the average)."""
    service, latency = SERVICES.draw(rng)
    if incident is not None and rng.random() < 0.6:
        service, latency = next(v for v in SERVICES.values if v[0] == incident.service)
    level: Literal["debug", "info", "warning", "error", "critical"]
    chance = rng.random()
    if incident is not None and service == incident.service and chance < 0.55:
        latency *= 8
        status = rng.choice((500, 502, 503, 504))
        level, message = ("critical" if chance < 0.05 else "error"), f"request failed: {incident.cause}"
    elif chance < 0.006:
        status, level, message = 500, "error", "unhandled exception"
    elif chance < 0.03:
        status, level, message = 429, "warning", "rate limit near"
        latency *= 2
    elif chance < 0.08:
        status, level, message = 404, "info", "not found"
    elif chance < 0.13:
        status, level, message = 200, "debug", "cache miss"
    else:
        status, level, message = 200, "info", "request served"
    return Log(
        event_id=draw_uuid(rng),
        occurred_at=instant(at),
        service=service,
        level=level,
        message=message,
        latency_ms=round(latency * (0.7 + 0.3 * load) * rng.lognormvariate(0, 0.45), 1),
        status_code=status,
        trace_id=f"{rng.getrandbits(64):016x}" if rng.random() < 0.5 else None,
    )
