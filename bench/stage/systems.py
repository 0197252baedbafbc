"""The systems that are measured: how each is started, and on how many events."""

import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jgo

from pipeline.local.kafka import CACHE, find_java

JAVA_SOURCE: Final = Path(__file__).parent / "java" / "SessionStage.java"
STREAMS_ARTIFACT: Final = "org.apache.kafka:kafka-streams:4.3.1"
COMPILER_ARTIFACT: Final = "org.eclipse.jdt:ecj:3.42.0"
"""A compiler that runs on a Java without one."""
SLOW: Final = 1 / 8
VERY_SLOW: Final = 1 / 40
HEAP_MB: Final = 512


@dataclass(frozen=True)
class Job:
    """One run of a system: where it reads and writes, its group, and a folder of its own."""

    bootstrap: str
    input: str
    output: str
    group: str
    folder: Path

    def arguments(self, number: int = 0) -> list[str]:
        """Give the arguments that all programs take; each process has a folder."""
        return [self.bootstrap, self.input, self.output, self.group, str(self.folder / str(number))]


@dataclass(frozen=True)
class System:
    """A system.

    Attributes:
        name: short, for files and options.
        title: for readers.
        commands: gives the command line of each process.
        share: the part of the events that it is given; slow systems would take too long with all.
        outputs: whether it sends an output for each event; else what it has committed is counted.
        sessions: whether outputs are sessions.
        commits: whether it commits offsets to its group.
    """

    name: str
    title: str
    commands: Callable[[Job], Sequence[Sequence[str]]]
    share: float = 1.0
    outputs: bool = True
    sessions: bool = True
    commits: bool = True


def find_systems(peers: Path, classes: Path, heap_mb: int = HEAP_MB) -> list[System]:
    """Give the systems.

    Args:
        peers: the interpreter of the virtual environment that has the peers in Python.
        classes: where compiled Java is put.
        heap_mb: what Kafka Streams is given; beside it come RocksDB's caches.
    """
    own = sys.executable
    java = _compiled(classes, heap_mb)

    def python(interpreter: str, module: str, processes: int = 1) -> Callable[[Job], Sequence[Sequence[str]]]:
        return lambda job: [
            [interpreter, "-m", f"bench.stage.{module}", *job.arguments(number)]
            for number in range(processes)
        ]

    def limit(what: str) -> Callable[[Job], Sequence[Sequence[str]]]:
        return lambda job: [[own, "-m", "bench.stage.limits", what, *job.arguments()]]

    def streams(threads: int, guarantee: str, commit_ms: int) -> Callable[[Job], Sequence[Sequence[str]]]:
        return lambda job: [
            [*java, "SessionStage", *job.arguments(), str(threads), guarantee, str(commit_ms)]
        ]

    return [
        System("ours-1", "this engine, 1 process", python(own, "ours")),
        System("ours-2", "this engine, 2 processes", python(own, "ours", 2)),
        System("streams-1", "Kafka Streams, 1 thread", streams(1, "at_least_once", 1000)),
        System("streams-2", "Kafka Streams, 2 threads", streams(2, "at_least_once", 1000)),
        System(
            "streams-eos", "Kafka Streams, exactly-once v2, 2 threads", streams(2, "exactly_once_v2", 1000)
        ),
        System("quix", "Quix Streams", python(str(peers), "quix"), share=SLOW),
        System("bytewax", "Bytewax", python(str(peers), "bytewax_flow"), commits=False),
        System("faust", "stock Faust", python(own, "stock_faust"), share=VERY_SLOW),
        System("consume", "limit: consume", limit("consume"), outputs=False, sessions=False),
        System("copy", "limit: consume, decode, produce", limit("copy"), sessions=False),
    ]


def _compiled(classes: Path, heap_mb: int) -> list[str]:
    """Compile the stage of Kafka Streams; gives how its program is started, up to the class."""
    java = find_java()
    jars = [str(jar) for jar in jgo.build(STREAMS_ARTIFACT, cache_dir=CACHE).all_jars]
    (compiler,) = (str(jar) for jar in jgo.build(COMPILER_ARTIFACT, cache_dir=CACHE).all_jars)
    classpath = ":".join(jars)
    subprocess.run(
        [java, "-jar", compiler, "-21", "-nowarn", "-cp", classpath, "-d", str(classes), str(JAVA_SOURCE)],
        check=True,
    )
    return [java, f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m", "-XX:+UseParallelGC", "-cp", f"{classes}:{classpath}"]


def versions(peers: Path) -> dict[str, str]:
    """Give the versions of what is measured."""
    wanted = {
        sys.executable: ("faust-streaming", "aiokafka", "confluent-kafka", "msgspec"),
        str(peers): ("quixstreams", "bytewax"),
    }
    found = {"python": platform.python_version(), "kafka-streams": STREAMS_ARTIFACT.rpartition(":")[2]}
    for interpreter, names in wanted.items():
        code = f"import importlib.metadata as m\nfor n in {names!r}: print(m.version(n))"
        answer = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True)
        found.update(zip(names, answer.stdout.split(), strict=True))
    java = subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=True)
    found["java"] = java.stderr.splitlines()[0].split('"')[1]
    return found
