"""Device and browser from a user agent, by the lists of ua-parser."""

from functools import lru_cache
from typing import NamedTuple

from ua_parser import parse

MOBILE_SYSTEMS = frozenset({"Android", "iOS", "Windows Phone", "BlackBerry OS", "KaiOS"})
TABLETS = ("iPad", "Tablet", "Kindle", "Nexus 7", "Nexus 10", "SM-T")
CACHED_USER_AGENTS = 20_000
USER_AGENT_CHARACTERS = 1000


class Agent(NamedTuple):
    """What a user agent says; `device` is desktop, mobile, tablet, bot or other."""

    device: str
    browser: str | None
    is_bot: bool


@lru_cache(maxsize=CACHED_USER_AGENTS)
def parse_user_agent(user_agent: str) -> Agent:
    """Read a user agent that the caller has cut to `USER_AGENT_CHARACTERS`, which bounds the cache too."""
    found = parse(user_agent).with_defaults()
    browser = found.user_agent.family
    family = found.device.family
    if family == "Spider":
        return Agent("bot", browser, is_bot=True)
    return Agent(_device(family, found.os.family), None if browser == "Other" else browser, is_bot=False)


def _device(family: str, system: str) -> str:
    if any(name in family for name in TABLETS):
        return "tablet"
    if system in MOBILE_SYSTEMS:
        return "mobile"
    return "other" if system == "Other" else "desktop"
