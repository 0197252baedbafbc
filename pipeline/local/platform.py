"""The local platform: Kafka, PostgreSQL, an emulator of Kinesis and the workers, under one supervisor."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import CONFIGURATION, LocalError
from pipeline.local import leftovers, services
from pipeline.local.attached import paused_file, rebuild_is_running, stopping_file
from pipeline.local.home import Home, disk_errors
from pipeline.local.ports import choose_port, starting_alone
from pipeline.local.programs import PRODUCE, Program, write_supervisor_configuration
from pipeline.local.supervisor import State, Supervisor, socket_path
from pipeline.local.workers import note_settings
from pipeline.settings import Settings


class LocalPlatform:
    """One home's platform; a context manager that starts the services and, at the end, stops everything.

    Args:
        settings: the user's settings. A service whose address they set is used and not started.
        workers: the programs that `start_workers` may start, in the order in which they are to stop.
        say: takes one line about what goes on.

    After `start`, `settings` is the user's with the addresses of the local services in it.
    """

    def __init__(
        self,
        settings: Settings,
        workers: Sequence[Program] = (),
        *,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._home = Home(settings.home)
        self.home = self._home.path
        self.logs = self._home.logs
        self.run = self._home.run
        self.settings = settings.model_copy(update={"home": self.home})
        self.start_seconds: dict[str, float] = {}
        self._given = settings
        self._workers = {worker.name: worker for worker in workers}
        self.say = say
        self._services: list[services.Service] = []
        self._socket = socket_path(self.home)
        self._supervisor = Supervisor(self.run / "supervisord.conf", self._socket)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoints(self) -> dict[str, str]:
        """Addresses of the services that the platform runs, by the names of the settings."""
        return {name: value for service in self._services for name, value in service.endpoints.items()}

    @property
    def kafka_bootstrap(self) -> str:
        """host:port of Kafka, whoever runs it."""
        return self.settings.kafka_bootstrap

    @property
    def postgres_url(self) -> str:
        """URL of the database (libpq), whoever runs it; the local role may do everything."""
        return self.settings.postgres_url.get_secret_value()

    @property
    def kinesis_endpoint(self) -> str | None:
        """URL of Kinesis, whoever runs it."""
        return self.settings.kinesis_endpoint

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor runs, which keeps all else running."""
        return self._supervisor.is_alive

    def start(self) -> None:
        """Take the home, clean up after a killed run, and start the services.

        Raises:
            LocalError: something stands in the way; the message says what. Nothing is left running.
        """
        if self.settings.environment != "dev":
            raise LocalError(
                f"the local platform is for PIPELINE_ENVIRONMENT=dev, it is {self.settings.environment}",
                exit_code=CONFIGURATION,
            )
        self._home.take()
        try:
            with disk_errors(self.home):
                self._home.check_disk()
                self._clean_up()
                # One at a time: between the choice of a port and its use another home could take it, and
                # would then be taken for this one's.
                with starting_alone():
                    self._prepare()
                    self.start_services()
        except BaseException:
            self.stop()
            raise

    def start_services(self) -> None:
        """Start the services and wait until each answers; those that run are left alone.

        Raises:
            LocalError: one does not come up.
        """
        for service in self._services:
            self._supervisor.start_program(service.program.name)
        for service in self._services:
            name = service.program.name

            def failures(name: str = name) -> int:
                with contextlib.suppress(OSError, ValueError):
                    return int(json.loads((self.run / f"{name}.starts").read_text())["quick"])
                return 0

            self.start_seconds[name] = services.wait_until_ready(service, failures, self.logs / f"{name}.log")
            self.say(f"{name} is ready on {_shown(next(iter(service.endpoints.values())))}")
            if name == services.KINESIS:
                self.say(
                    "kinesis is an emulator: its streams are empty at every start, it forgets at every stop"
                )

    def start_workers(self, names: Iterable[str] | None = None) -> None:
        """Start workers, all if none are named.

        Raises:
            LocalError: there is no such worker.
        """
        for name in self._workers if names is None else names:
            self._supervisor.start_program(name)

    def stop_worker(self, name: str) -> None:
        """Stop one worker cleanly and wait for its end; it is not started again."""
        self._supervisor.stop_programs([name])

    def restart(self, name: str) -> None:
        """Stop a program cleanly and start it again at once."""
        self._supervisor.stop_programs([name])
        self._supervisor.start_program(name)

    def states(self) -> dict[str, State]:
        """Give how each program is, by name."""
        return self._supervisor.states()

    def log_file(self, name: str) -> Path:
        """Give where a program writes."""
        return self.logs / f"{name}.log"

    def stop(self, drain: Callable[[], None] | None = None) -> None:
        """Stop everything: the producer, then the workers from the source on, then the services.

        Args:
            drain: called when the producer has stopped and all else still runs: waits until what is in the
                emulator, which forgets it, has been taken over. It has to come back within a time of its own.
        """
        if not self._home.is_ours:
            return
        try:
            if self._supervisor.is_alive:
                self._stop_in_order(drain)
            self._supervisor.shutdown()
        finally:
            self._home.end_leftovers()
            self._home.release()

    def _stop_in_order(self, drain: Callable[[], None] | None) -> None:
        stopping_file(self.home).touch()
        running = [name for name, state in self.states().items() if state.is_running]
        if PRODUCE in running:
            self.say("stopping the producer")
            self._supervisor.stop_programs([PRODUCE])
        if drain is not None:
            drain()
        for group in _groups(name for name in self._workers if name in running and name != PRODUCE):
            self.say(f"stopping {', '.join(group)}")
            self._supervisor.stop_programs(group)
        self.say("stopping the services")
        self._supervisor.stop_programs(service.program.name for service in self._services)

    def _clean_up(self) -> None:
        with rebuild_is_running(self.home) as is_rebuilding:
            if is_rebuilding:
                raise LocalError("a rebuild is running, and all workers would start: wait for its end")
            paused_file(self.home).unlink(missing_ok=True)
        stopping_file(self.home).unlink(missing_ok=True)
        found = self._home.end_leftovers()
        if found:
            self.say(f"ended {found} processes that an earlier run left behind")
        self._socket.unlink(missing_ok=True)

    def _prepare(self) -> None:
        written = self._home.read_endpoints()
        ours = services.ours(self._given, written)
        services.check_given(self._given, [name for name in services.FIELDS if name not in ours])
        given_ports = {
            services.KAFKA: self._given.kafka_port,
            services.POSTGRES: self._given.postgres_port,
            services.KINESIS: self._given.kinesis_port,
        }
        ports = {
            name: choose_port(
                name,
                given=given_ports[name],
                preferred=(services.written_port(written, name), services.USUAL_PORTS[name]),
            )
            for name in ours
        }
        make: dict[str, Callable[[int], services.Service]] = {
            services.KAFKA: lambda port: services.kafka_service(self.home, port),
            services.POSTGRES: lambda port: services.postgres_service(self.home, port),
            services.KINESIS: lambda port: services.kinesis_service(
                port, region=self.settings.aws_region, shards=self.settings.kinesis_shards
            ),
        }
        self._services = [make[name](port) for name, port in ports.items()]
        self._home.write_endpoints(self.endpoints, ports)
        self.settings = Settings(
            **{**self._given.model_dump(exclude_unset=True), **self.endpoints, "home": self.home}
        )
        note_settings(self.settings)
        write_supervisor_configuration(
            self.run / "supervisord.conf",
            [*(service.program for service in self._services), *self._workers.values()],
            socket=self._socket,
            run=self.run,
        )
        self._supervisor.start(self._environment(), self.logs / "supervisord.out")

    def _environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if name != leftovers.MARK}
        ours = {
            **{f"PIPELINE_{name.upper()}": value for name, value in self.endpoints.items()},
            "PIPELINE_HOME": str(self.home),
            leftovers.MARK: str(self.home),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', os.defpath)}",
        }
        if "kinesis_endpoint" in self.endpoints:
            # The emulator takes any; real ones have no business with it.
            ours |= {
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        return given | ours


def _groups(names: Iterable[str]) -> list[list[str]]:
    """Put names that follow each other and share what stands before the first hyphen into one group."""
    groups: list[list[str]] = []
    for name in names:
        if groups and groups[-1][0].partition("-")[0] == name.partition("-")[0]:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _shown(endpoint: str) -> str:
    """Give an address without its password."""
    head, at, tail = endpoint.rpartition("@")
    return f"{head.rpartition(':')[0]}@{tail}" if at else endpoint
