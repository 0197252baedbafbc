"""What visits are made with: user agents, each with the device and browser it stands for."""

from dataclasses import dataclass
from typing import Final

from producer.shop.draws import Weighted


@dataclass(frozen=True)
class Agent:
    """A user agent and what a reader of it shall find. A robot's device is `bot`.

    `is_bot`: it says so itself. One that pretends to be a person is given away by its pace only.
    """

    text: str
    device: str
    browser: str
    is_bot: bool = False


_IPHONE: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
)
_IPAD: Final = "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
_ANDROID: Final = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko)"
_WINDOWS: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
_MAC: Final = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
_LINUX: Final = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
_FIREFOX: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0"

PEOPLE: Final = Weighted(
    [
        (Agent(f"{_IPHONE} Version/17.5 Mobile/15E148 Safari/604.1", "mobile", "Mobile Safari"), 30),
        (Agent(f"{_ANDROID} Chrome/126.0.0.0 Mobile Safari/537.36", "mobile", "Chrome Mobile"), 24),
        (Agent(f"{_WINDOWS} Chrome/126.0.0.0 Safari/537.36", "desktop", "Chrome"), 22),
        (Agent(f"{_MAC} Version/17.5 Safari/605.1.15", "desktop", "Safari"), 12),
        (Agent(_FIREFOX, "desktop", "Firefox"), 6),
        (Agent(f"{_WINDOWS} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", "desktop", "Edge"), 3),
        (Agent(f"{_IPAD} Version/17.5 Mobile/15E148 Safari/604.1", "tablet", "Mobile Safari"), 3),
    ]
)
PRETENDER: Final = Agent(f"{_LINUX} Chrome/126.0.0.0 Safari/537.36", "desktop", "Chrome")
"""A robot's, but nothing in it says so."""
ROBOTS: Final = (
    Agent(
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "bot",
        "Googlebot",
        is_bot=True,
    ),
    Agent(
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "bot",
        "bingbot",
        is_bot=True,
    ),
    Agent("python-requests/2.32.3", "bot", "Python Requests", is_bot=True),
    PRETENDER,
)
AGENTS: Final = {agent.text: agent for agent in (*PEOPLE.values, *ROBOTS)}
"""Every user agent that the shop is visited with, by its text."""
