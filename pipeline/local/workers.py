"""What the workers of a local platform were started with, as far as it decides what tables hold."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipeline.settings import Settings

PARTITIONS: Final = "partitions"
DECISIVE: Final = (
    "session_gap_seconds",
    PARTITIONS,
    "base_currency",
    "rates_file",
    "own_hosts",
    "email_hash_secret",
)
"""Settings whose change makes other tables, or another state."""


def decisive_settings(settings: Settings) -> dict[str, str]:
    """Give the values of `DECISIVE` as text; of the secret only what tells it from another."""
    values = {name: str(getattr(settings, name)) for name in DECISIVE}
    secret = settings.email_hash_secret.get_secret_value().encode()
    return values | {
        "rates_file": str(settings.rates_file.absolute()),
        "own_hosts": ",".join(settings.own_hosts),
        "email_hash_secret": hashlib.sha256(secret).hexdigest()[:16],
    }


def note_settings(settings: Settings) -> None:
    """Write down what the workers of the settings' home are started with."""
    path = _file(settings.home)
    path.touch(mode=0o600)
    path.write_text(json.dumps(decisive_settings(settings), indent=1))


def noted_settings(home: Path) -> dict[str, str]:
    """Give what the workers of a home were started with; empty if it is not known."""
    try:
        found = json.loads(_file(home).read_text())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in found.items() if name in DECISIVE}


def differing(noted: Mapping[str, str], today: Mapping[str, str]) -> list[str]:
    """Give the names of the settings that are not the same, of those that were noted."""
    return [name for name, value in noted.items() if today[name] != value]


def variable(name: str) -> str:
    """Give the environment's name of a setting."""
    return f"PIPELINE_{name.upper()}"


def _file(home: Path) -> Path:
    return home / "run" / "settings.json"
