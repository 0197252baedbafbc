"""The emulator of Kinesis and DynamoDB: moto, served over HTTP/1.1 and HTTP/2 without TLS.

It keeps everything in memory. So the streams are made when it starts, before it takes a request: after a
restart they are there again, empty and with a new creation time, by which their records are told apart.
"""

import argparse
import asyncio
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from pipeline.local.programs import Program
from streams.events import STREAMS

MAX_REQUEST_BYTES = 16 * 1024 * 1024  # a full PutRecords of 10 MiB grows by a third in base64


def one_at_a_time(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Let one request in at a time: moto numbers a shard's records without a lock."""
    lock = threading.Lock()

    def locked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            return list(app(environ, start_response))

    return locked


def find_by_number() -> None:
    """Have moto find a shard's records by their numbers, not by going through all of them for every one."""
    from moto.kinesis.models import Shard  # noqa: PLC0415  (as in main)

    by_search = Shard.get_records

    def get_records(self: Any, last_sequence_id: str, limit: int | None) -> tuple[list[Any], int, int]:
        last, count = int(last_sequence_id), len(self.records)
        if self.get_max_sequence_number() != count:  # not numbered from 1 on: it comes of a split or merge
            found: tuple[list[Any], int, int] = by_search(self, last_sequence_id, limit)
            return found
        upto = count if limit is None else min(count, last + limit)
        results = [self.records[number] for number in range(last + 1, upto + 1)]
        behind = self.records[count].created_at - results[-1].created_at if results else 0.0
        return results, max(last, upto), int(behind * 1000)

    # Set from outside, which types do not allow: moto has no setting for it.
    Shard.get_max_sequence_number = lambda self: next(reversed(self.records), 0)  # type: ignore[method-assign]
    Shard.get_records = get_records  # type: ignore[method-assign]


def create_streams(*, region: str, shards: int) -> None:
    """Make the pipeline's streams in moto's memory."""
    from moto.core.models import DEFAULT_ACCOUNT_ID  # noqa: PLC0415  (as in main)
    from moto.kinesis.models import kinesis_backends  # noqa: PLC0415

    backend = kinesis_backends[DEFAULT_ACCOUNT_ID][region]
    for stream in STREAMS:
        backend.create_stream(stream, shards)


def program(name: str, *, host: str, port: int, region: str, shards: int) -> Program:
    """Describe the emulator as a program of the platform."""
    arguments = ["--bind", f"{host}:{port}", "--region", region, "--shards", str(shards)]
    return Program(name, [sys.executable, "-m", __name__, *arguments], stop_seconds=5)


def main() -> None:
    """Serve until SIGTERM."""
    # Half a second of imports that those who only describe the program need not pay.
    from hypercorn.asyncio import serve  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        create_backend_app,
    )

    parser = argparse.ArgumentParser()
    parser.add_argument("--bind", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--shards", type=int, required=True)
    arguments = parser.parse_args()
    find_by_number()
    create_streams(region=arguments.region, shards=arguments.shards)
    config = Config()
    config.bind = [arguments.bind]
    config.wsgi_max_body_size = MAX_REQUEST_BYTES
    config.keep_alive_timeout = 300
    config.graceful_timeout = 1
    print(  # noqa: T201  (its standard output is its log)
        f"emulator on {arguments.bind}: streams made anew and empty; it forgets all when it stops",
        flush=True,
    )
    asyncio.run(serve(one_at_a_time(DomainDispatcherApplication(create_backend_app)), config, mode="wsgi"))


if __name__ == "__main__":
    main()
