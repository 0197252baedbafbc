"""The way through the emulator: a sender with a ledger, and a proxy before it that refuses now and then."""

import json
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from pipeline.sending import Stopping, make_writer
from pipeline.settings import Settings
from producer.ledger import LedgerWriter
from producer.records import Record
from streams.events import STREAMS

SECONDS = 60
REFUSALS: Mapping[str, tuple[str, float]] = {
    "PutRecords": ("ProvisionedThroughputExceededException", 0.3),
    "GetRecords": ("ProvisionedThroughputExceededException", 0.3),
    "UpdateItem": ("ThrottlingException", 0.5),
}
"""By operation: what is answered instead, and how often. `UpdateItem` saves checkpoints."""
PARTIAL = 0.5
"""Share of the other PutRecords requests of which only a part gets through."""


class KinesisStreams:
    """Puts records as the producer does, and keeps those that were taken in a ledger."""

    def __init__(self, settings: Settings, ledger: Path) -> None:
        self._writer = make_writer(settings, Stopping())
        self._ledger = LedgerWriter(ledger)

    def send(self, records: Sequence[Record]) -> None:
        """Put records, stream by stream; raises KinesisError when none is taken for long."""
        for stream in STREAMS:
            self._writer.put(stream, [one for one in records if one.stream == stream], self._ledger.write)

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()


class RefusingProxy:
    """Stands before the emulator, and refuses some requests and parts of some. A context manager.

    Args:
        target: URL of the emulator.
        seed: of the draws.

    Attributes:
        refused: how many of which operation, by name; parts of a request as `part of PutRecords`.
    """

    def __init__(self, target: str, seed: int) -> None:
        self.refused: Counter[str] = Counter()
        self._target = urlsplit(target).netloc
        self._rng = random.Random(f"refusals {seed}")
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, kind, answer = proxy.answer(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
        """Give status, content type and body for a request, from the emulator or our own."""
        operation = headers.get("X-Amz-Target", "").rpartition(".")[2]
        code, share = REFUSALS.get(operation, ("", 0.0))
        with self._lock:
            draw, cut = self._rng.random(), self._rng.random()
            if draw < share:
                self.refused[operation] += 1
                refusal = {"__type": code, "message": "refused by the test"}
                return 400, "application/x-amz-json-1.1", json.dumps(refusal).encode()
        if operation == "PutRecords" and cut < PARTIAL:
            return self._put_a_part(path, headers, body, cut / PARTIAL)
        return self._forward(path, headers, body)

    def _put_a_part(
        self, path: str, headers: Mapping[str, str], body: bytes, share: float
    ) -> tuple[int, str, bytes]:
        """Let every n-th record through and answer for the others that they failed, as Kinesis does."""
        given = json.loads(body)
        records = given["Records"]
        taken = [number for number in range(len(records)) if (number * 7) % 10 < share * 10]
        if not taken or len(taken) == len(records):
            return self._forward(path, headers, body)
        given["Records"] = [records[number] for number in taken]
        status, kind, answer = self._forward(path, headers, json.dumps(given).encode())
        if status != 200:
            return status, kind, answer
        results: list[dict[str, Any]] = [
            {"ErrorCode": REFUSALS["PutRecords"][0], "ErrorMessage": "refused by the test"} for _ in records
        ]
        for number, result in zip(taken, json.loads(answer)["Records"], strict=True):
            results[number] = result
        with self._lock:
            self.refused["part of PutRecords"] += 1
        failed = len(records) - len(taken)
        return status, kind, json.dumps({"FailedRecordCount": failed, "Records": results}).encode()

    def _forward(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
        connection = HTTPConnection(self._target, timeout=SECONDS)
        kept = {
            name: value for name, value in headers.items() if name.lower() not in {"content-length", "host"}
        }
        try:
            connection.request("POST", path, body, kept)
            response = connection.getresponse()
            return response.status, response.headers.get("Content-Type", ""), response.read()
        except (OSError, HTTPException):
            return 503, "text/plain", b"the emulator does not answer"
        finally:
            connection.close()
