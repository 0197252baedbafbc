"""Device, browser and bots from a user agent, by two lists that others keep up to date.

ua-parser knows devices, browsers and what calls itself a spider. What else is no person (HTTP libraries,
headless browsers, previews of links) is known by the crawler-user-agents list.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from crawleruseragents import is_crawler
from ua_parser import parse

MOBILE_SYSTEMS: Final = frozenset({"Android", "iOS", "Windows Phone", "BlackBerry OS", "KaiOS"})
NO_COMPUTERS: Final = frozenset(
    {"Other", "Tizen", "tvOS", "ATV OS X", "WebOS", "webOS", "Roku", "Chromecast", "Chromecast Linux"}
)
"""Systems of televisions and the like."""
TABLETS: Final = ("iPad", "Tablet", "Kindle", "Nexus 7", "Nexus 10", "SM-T", "SM-X")
TABLET_BRAND: Final = "Generic_Android_Tablet"
"""What ua-parser calls an Android device that does not say it is mobile: televisions and cars too."""
TELEVISIONS: Final = ("TV", "BRAVIA")
CACHED_USER_AGENTS: Final = 20_000
USER_AGENT_CHARACTERS: Final = 1000


class Agent(NamedTuple):
    """What a user agent says; `device` is desktop, mobile, tablet, bot or other."""

    device: str
    browser: str | None
    is_bot: bool


@lru_cache(maxsize=CACHED_USER_AGENTS)
def parse_user_agent(user_agent: str) -> Agent:
    """Read a user agent that the caller has cut to `USER_AGENT_CHARACTERS`, which bounds the cache too."""
    found = parse(user_agent).with_defaults()
    browser = None if found.user_agent.family == "Other" else found.user_agent.family
    if found.device.family == "Spider" or is_crawler(user_agent):
        return Agent("bot", browser, is_bot=True)
    return Agent(_device(found.device.family, found.device.brand, found.os.family), browser, is_bot=False)


def _device(family: str, brand: str | None, system: str) -> str:
    if any(name in family for name in TELEVISIONS) or family.startswith("AFT"):  # Amazon's Fire TV
        return "other"
    if brand == TABLET_BRAND or any(name in family for name in TABLETS):
        return "tablet"
    if system in MOBILE_SYSTEMS:
        return "mobile"
    return "other" if system in NO_COMPUTERS else "desktop"
