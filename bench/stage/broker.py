"""The local platform's Kafka alone, for as long as a benchmark takes."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline.local.ports import free_port
from pipeline.local.services import kafka_service, wait_until_ready


@contextlib.contextmanager
def running_broker(home: Path) -> Iterator[tuple[str, int]]:
    """Run a broker whose data lies in a folder; gives its address and its process' id.

    Raises:
        LocalError: it does not come up.
    """
    service = kafka_service(home, free_port())
    log = home / "kafka.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            service.program.command, cwd=service.program.directory, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        wait_until_ready(service, lambda: 0 if process.poll() is None else 2, log)
        yield service.endpoints["kafka_bootstrap"], process.pid
    finally:
        process.terminate()
        process.wait(30)
