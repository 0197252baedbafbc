"""Channel of a visit, by the rule table `channels.toml`."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

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
        self.channel_of = lru_cache(maxsize=20_000)(self._channel_of)

    def _channel_of(
        self, utm_source: str | None, utm_medium: str | None, referrer: str | None, page_url: str | None
    ) -> str:
        """Give the channel of a visit that began with these; all but the hosts are compared in lower case."""
        medium = (utm_medium or "").strip().lower()
        source = (utm_source or "").strip().lower()
        kind = self._referrer_kind(referrer, page_url)
        for rule in self._rules:
            if (
                (rule.medium is None or medium in rule.medium)
                and (rule.source is None or source in rule.source)
                and (rule.referrer is None or kind in rule.referrer)
                and (not rule.utm or medium or source)
            ):
                return rule.channel
        return "direct"

    def _referrer_kind(self, referrer: str | None, page_url: str | None) -> str | None:
        host = host_of(referrer)
        if host is None or host == host_of(page_url) or any(suffix in self._own for suffix in _above(host)):
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
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname
    except ValueError:
        return None


def _above(host: str) -> list[str]:
    """Give a host and all names above it: www.shop.example, shop.example, example."""
    labels = host.split(".")
    return [".".join(labels[i:]) for i in range(len(labels))]


def _set_of(rule: Mapping[str, Any], condition: str) -> frozenset[str] | None:
    return frozenset(rule[condition]) if condition in rule else None


def read_channels(path: Path = RULES_FILE, own_hosts: Sequence[str] = ()) -> Channels:
    """Read the rule table."""
    return Channels(tomllib.loads(path.read_text()), own_hosts)
