"""Channel of a visit, by the rule table `channels.toml`."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CACHED_VISITS = 10_000
HOST_CHARACTERS = 253
"""The longest name that DNS allows; it also bounds what is kept of one visit."""
_PLAIN_URL = re.compile(r"https?://([a-z0-9.-]{1,253})(?:[/?#]|\Z)")
RULES_FILE = Path(__file__).with_name("channels.toml")


class Rule(NamedTuple):
    """One rule; a condition that is None always holds."""

    channel: str
    medium: frozenset[str] | None
    source: frozenset[str] | None
    referrer: frozenset[str] | None
    utm: bool


class Channels:
    """The rule table.

    Args:
        table: as in `channels.toml`.
        own_hosts: hosts of the shop, which are never referrers; hosts below them neither.
    """

    def __init__(self, table: Mapping[str, Any], own_hosts: Sequence[str] = ()) -> None:
        self._rules = [
            Rule(
                channel=rule["channel"],
                medium=_set_of(rule, "medium"),
                source=_set_of(rule, "source"),
                referrer=_set_of(rule, "referrer"),
                utm=rule.get("utm", False),
            )
            for rule in table["rule"]
        ]
        self._kind_of_host = {host: kind for kind, hosts in table["referrers"].items() for host in hosts}
        self._own = frozenset(own_hosts)
        self._cached = lru_cache(maxsize=CACHED_VISITS)(self._first_fitting)

    def channel_of(
        self, utm_source: str | None, utm_medium: str | None, referrer_host: str | None, own_host: str | None
    ) -> str:
        """Give the channel of a visit.

        Args:
            utm_source: compared in lower case, without spaces around it, as `utm_medium` is. The caller has
                cut both: what is given here is kept in a cache.
            utm_medium: likewise.
            referrer_host: host of the referring page (`host_of`), if there is one.
            own_host: host of the page that was visited, which is no referrer.
        """
        return self._cached(utm_source, utm_medium, referrer_host, own_host)

    def _first_fitting(
        self, utm_source: str | None, utm_medium: str | None, referrer_host: str | None, own_host: str | None
    ) -> str:
        medium = (utm_medium or "").strip().lower()
        source = (utm_source or "").strip().lower()
        kind = (
            None if referrer_host is None or referrer_host == own_host else self._referrer_kind(referrer_host)
        )
        for rule in self._rules:
            if (
                (rule.medium is None or medium in rule.medium)
                and (rule.source is None or source in rule.source)
                and (rule.referrer is None or kind in rule.referrer)
                and (not rule.utm or medium or source)
            ):
                return rule.channel
        return "direct"

    def _referrer_kind(self, host: str) -> str | None:
        if any(suffix in self._own for suffix in _above(host)):
            return None
        # The longest name decides: mail.google.com before google.*
        for suffix in _above(host):
            name = suffix.split(".", maxsplit=1)[0]
            kind: str | None = self._kind_of_host.get(suffix) or self._kind_of_host.get(f"{name}.*")
            if kind is not None:
                return kind
        return "other"


def host_of(url: str | None) -> str | None:
    """Give the host of a URL in lower case, None if it has none."""
    if not url:
        return None
    plain = _PLAIN_URL.match(url)
    if plain:  # nearly all are, and the whole truth takes ten times as long
        return plain[1]
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname
    except ValueError:
        return None
    return host[:HOST_CHARACTERS] if host else None


def _above(host: str) -> list[str]:
    """Give a host and all names above it: www.shop.example, shop.example, example."""
    labels = host.split(".")
    return [".".join(labels[i:]) for i in range(len(labels))]


def _set_of(rule: Mapping[str, Any], condition: str) -> frozenset[str] | None:
    return frozenset(rule[condition]) if condition in rule else None


def read_channels(path: Path = RULES_FILE, own_hosts: Sequence[str] = ()) -> Channels:
    """Read the rule table."""
    return Channels(tomllib.loads(path.read_text()), own_hosts)
