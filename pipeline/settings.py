"""Settings: from the environment (`PIPELINE_…`), a `.env` file, and what the local platform says of itself.

Parsed once at start; everything that is wrong is reported together. Other packages never read the
environment: they are given values.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from streams.failpoints import parse as parse_failpoints
from streams.kafka import KafkaConfig

ENDPOINTS_FILE = "endpoints.json"
DEFAULT_SECRET = "change me"  # noqa: S105  (refused outside dev)
REPOSITORY = Path(__file__).resolve().parent.parent


class SettingsError(Exception):
    """Some settings are wrong; the message lists each with what is allowed."""


class Settings(BaseSettings):
    """All settings. Each field is the variable `PIPELINE_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="PIPELINE_", env_file=".env", extra="ignore", frozen=True)

    environment: Literal["dev", "staging", "prod"] = Field("dev", description="dev runs all parts locally")
    home: Path = Field(Path(".pipeline"), description="where the local platform keeps its state")
    kafka_port: int | None = Field(None, ge=1, le=65535, description="of the local Kafka; unset: a free one")
    postgres_port: int | None = Field(None, ge=1, le=65535, description="of the local Postgres, likewise")
    kinesis_port: int | None = Field(None, ge=1, le=65535, description="of the local emulator, likewise")

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port of the brokers")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how clients talk to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="with one of the SASL protocols"
    )
    kafka_sasl_username: str | None = Field(None, description="likewise")
    kafka_sasl_password: SecretStr | None = Field(None, description="likewise")
    kafka_ssl_ca_location: str | None = Field(
        None, description="file with the brokers' authority; unset: those the system trusts"
    )
    kafka_replication: int = Field(1, ge=1, le=9, description="replicas of each topic")
    partitions: int = Field(4, ge=1, le=1024, description="partitions of every topic")
    session_timeout_seconds: float = Field(
        10, ge=3, le=300, description="how long a dead worker keeps its partitions"
    )

    postgres_url: SecretStr = Field(
        SecretStr("postgresql://pipeline@127.0.0.1:5432/pipeline"), description="libpq URL of the database"
    )

    reader_role: str = Field(
        "pipeline_reader",
        pattern="^[a-z_][a-z0-9_]{0,62}$",
        description="role in Postgres that reads all but personal data; `pipeline migrate` makes it",
    )
    reader_password: SecretStr | None = Field(
        None, description="its password, which `pipeline migrate` sets; unset: left as it is"
    )

    aws_region: str = Field("us-east-1", description="of Kinesis and DynamoDB")
    kinesis_endpoint: str | None = Field(None, description="unset: AWS itself")
    dynamodb_endpoint: str | None = Field(None, description="unset: AWS itself")
    kinesis_application: str = Field("pipeline", description="prefix of the lease tables in DynamoDB")
    kinesis_shards: int = Field(2, ge=1, description="shards of each stream that the local platform makes")

    state_memory_mb: int = Field(
        128, ge=16, description="what the state of a `process` worker may hold in memory, in MiB"
    )
    session_gap_seconds: int = Field(1800, ge=900, description="a longer step between events cuts a session")
    session_retention_days: int = Field(
        400,
        ge=0,
        description="events further behind the newest are no longer put into sessions; 0: all are; "
        "raising it takes effect for what has not expired yet",
    )
    own_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="the shop's own hosts, by commas: they and hosts below them are never referrers"
    )
    base_currency: str = Field("USD", pattern="^[A-Z]{3}$", description="what amounts are converted to")
    rates_file: Path = Field(
        REPOSITORY / "dbt" / "seeds" / "exchange_rates.csv",
        description="exchange rates by date: rate_date, currency, rate",
    )
    email_hash_secret: SecretStr = Field(
        SecretStr(DEFAULT_SECRET), description="key of the e-mail hash; set your own outside dev"
    )
    retention_bronze_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="days of arrival that `pipeline retention` leaves in bronze; unset: all",
    )
    retention_changes_days: int = Field(30, ge=1, le=36_500, description="days it leaves of the change log")
    retention_hops_days: int = Field(30, ge=1, le=36_500, description="days it leaves of samples of hops")
    gold_every_seconds: int = Field(300, ge=5, description="interval of dbt builds")
    failpoints: str = Field("", description="where workers are to die, for tests of faults; dev only")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the running local platform's own endpoints below what the user sets."""
        local = _LocalEndpoints(settings_cls, (init_settings, env_settings, dotenv_settings))
        return init_settings, env_settings, dotenv_settings, local, file_secret_settings

    @model_validator(mode="after")
    def _want_own_secret(self) -> Self:
        if self.environment != "dev" and self.email_hash_secret.get_secret_value() == DEFAULT_SECRET:
            raise PydanticCustomError("own_secret", "PIPELINE_EMAIL_HASH_SECRET must be set outside dev")
        return self

    @model_validator(mode="after")
    def _want_no_failpoints(self) -> Self:
        if self.environment != "dev" and self.failpoints:
            raise PydanticCustomError("no_failpoints", "PIPELINE_FAILPOINTS must not be set outside dev")
        return self

    @model_validator(mode="after")
    def _want_whole_security(self) -> Self:
        protocol = self.kafka_security_protocol
        if protocol.startswith("SASL"):
            names = ("mechanism", "username", "password")
            missing = [name for name in names if not getattr(self, f"kafka_sasl_{name}")]
            if missing:
                wanted = ", ".join(f"PIPELINE_KAFKA_SASL_{name.upper()}" for name in missing)
                raise PydanticCustomError("sasl", f"{wanted} must be set with {protocol}")
        authority = self.kafka_ssl_ca_location
        if "SSL" in protocol and authority and not Path(authority).is_file():
            raise PydanticCustomError("ca", f"PIPELINE_KAFKA_SSL_CA_LOCATION: {authority} is no file")
        return self

    @field_validator("home")
    @classmethod
    def _want_folder(cls, value: Path) -> Path:
        if value.exists() and not value.is_dir():
            raise PydanticCustomError("folder", "a folder is wanted, this is a file")
        return value

    @field_validator("failpoints")
    @classmethod
    def _parse_failpoints(cls, value: str) -> str:
        parse_failpoints(value)
        return value

    @field_validator("own_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return (
            [host.strip().lower() for host in value.split(",") if host.strip()]
            if isinstance(value, str)
            else value
        )

    @property
    def kafka(self) -> KafkaConfig:
        """How to reach Kafka."""
        password = self.kafka_sasl_password
        return KafkaConfig(
            bootstrap=self.kafka_bootstrap,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=password.get_secret_value() if password else None,
            ssl_ca_location=self.kafka_ssl_ca_location,
        )

    @property
    def state_dir(self) -> Path:
        """Where workers keep the local copy of their state; it can be thrown away at any time."""
        return self.home / "state"


class _LocalEndpoints(PydanticBaseSettingsSource):
    """Endpoints that `pipeline up` wrote into its home, so that other commands find it without settings."""

    def __init__(
        self, settings_cls: type[BaseSettings], above: tuple[PydanticBaseSettingsSource, ...]
    ) -> None:
        super().__init__(settings_cls)
        self._above = above

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  (abstract in the base class)
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for source in reversed(self._above):
            given |= source()
        if given.get("environment", "dev") != "dev":
            return {}
        try:
            found = json.loads((Path(given.get("home", ".pipeline")) / ENDPOINTS_FILE).read_text())
        except (OSError, ValueError):
            return {}
        return {name: value for name, value in found.items() if name in self.settings_cls.model_fields}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: one or more are wrong; all of them are in the message.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [_line(problem) for problem in error.errors()]
        raise SettingsError("wrong settings:\n  " + "\n  ".join(lines)) from None


def _line(problem: Any) -> str:
    if not problem["loc"]:  # of several settings together
        return str(problem["msg"])
    name = "_".join(map(str, problem["loc"]))
    return f"PIPELINE_{name.upper()}: {problem['msg']} (it is {_shown(problem)!r})"


def _shown(error: Any) -> str:
    secret = any(
        "password" in str(part) or "secret" in str(part) or "url" in str(part) for part in error["loc"]
    )
    return "**********" if secret else str(error["input"])
