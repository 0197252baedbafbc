"""Payloads of records as they came, fetched from bronze for the dead letters of later stages."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from sinks.database import Connection, Database
from sinks.retention import first_day
from sinks.schema import bronze_name
from streams.transport import TransportIdentity

BRONZE_WAIT_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.25


class BronzeBehindError(Exception):
    """Bronze does not hold a record yet that a later stage refused; the batch must be tried again."""


def payloads_of(
    database: Database,
    identities: Sequence[TransportIdentity],
    *,
    wait_seconds: float = BRONZE_WAIT_SECONDS,
) -> list[bytes | None]:
    """Give the bytes of records as they came, waiting for the bronze sink where it is behind.

    None for a record that arrived before the oldest day that bronze has kept.

    Raises:
        BronzeBehindError: after `wait_seconds` some are still missing.
        DatabaseUnavailableError: the database stayed away.
    """
    deadline = time.monotonic() + wait_seconds
    found: dict[TransportIdentity, bytes | None] = {}
    while True:
        missing = [identity for identity in identities if identity not in found]
        if missing and time.monotonic() > deadline:
            found |= database.transact(partial(_thrown_away, identities=missing))
            missing = [identity for identity in missing if identity not in found]
            if missing:
                raise BronzeBehindError(
                    f"bronze lacks {missing[0].stream} {missing[0].shard} {missing[0].sequence_number} after "
                    f"{wait_seconds:.0f} s: is the bronze sink running?"
                )
        if not missing:
            return [found[identity] for identity in identities]
        found |= database.transact(partial(_fetch, identities=missing))
        if not all(identity in found for identity in missing):
            time.sleep(POLL_SECONDS)


def _fetch(
    connection: Connection, identities: Sequence[TransportIdentity]
) -> dict[TransportIdentity, bytes | None]:
    found: dict[TransportIdentity, bytes | None] = {}
    for identity in identities:
        place = identity[:5]
        row = connection.execute(
            # A record that failed before may have outlived its day in bronze.
            f"""
            SELECT coalesce(raw, convert_to(payload::text, 'UTF8'))
            FROM {bronze_name(identity.stream)}
            WHERE (arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number)
                = (%s, %s, %s, %s, %s)
            UNION ALL
            SELECT payload FROM dead_letters
            WHERE (stream, stream_epoch, shard, sequence_number, sub_sequence_number)
                = (%s, %s, %s, %s, %s) AND payload IS NOT NULL
            LIMIT 1
            """.encode(),  # noqa: S608  (a name of our own)
            (identity.arrived_at, *place[1:], *place),
        ).fetchone()
        if row is not None and isinstance(row[0], bytes):
            found[identity] = row[0]
    return found


def _thrown_away(
    connection: Connection, identities: Sequence[TransportIdentity]
) -> dict[TransportIdentity, bytes | None]:
    streams = {identity.stream for identity in identities}
    kept_from = {stream: first_day(connection, bronze_name(stream)) for stream in streams}
    return {
        identity: None
        for identity in identities
        if (day := kept_from[identity.stream]) is not None and identity.arrived_at.date() < day
    }
