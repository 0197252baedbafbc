"""Ledgers of what was sent against silver: every row of every table, by a computation of its own.

The oracle (`producer.oracle`) says what must be there, the database says what is. A row is lost, one too
many, or differs in named columns. Columns that depend on the way and not on the events are left out:
transport, instants of arrival and writing, revisions, `is_late` (but the list of late events must agree with
it), the value of `content_hash` (but no two rows may have the same).
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from pipeline.comparison import FACTS, LETTERS, compare_tables
from pipeline.differences import Difference, TableComparison
from pipeline.errors import UserError
from pipeline.expected import fill_expected
from pipeline.postgres import not_answering
from pipeline.settings import Settings
from producer.oracle.truth import OracleConfig, OracleError


@dataclass(frozen=True)
class Reconciliation:
    """What was found in each table."""

    tables: tuple[TableComparison, ...]

    @property
    def lost(self) -> int:
        """Rows that should be there and are not."""
        return sum(table.missing for table in self.tables)

    @property
    def doubled(self) -> int:
        """Rows that are there and should not be."""
        return sum(table.extra for table in self.tables)

    @property
    def differing(self) -> int:
        """Rows that are there with another content."""
        return sum(table.differing for table in self.tables)

    @property
    def agrees(self) -> bool:
        """Whether silver is what the ledgers make of it, field by field."""
        return all(table.agrees for table in self.tables)

    @property
    def facts(self) -> int:
        """How many events the ledgers name."""
        return sum(table.expected for table in self.tables if table.table in FACTS)

    @property
    def broken(self) -> int:
        """How many broken records."""
        return sum(table.expected for table in self.tables if table.table == LETTERS)

    @property
    def differences(self) -> list[Difference]:
        """A few of each table."""
        return [example for table in self.tables for example in table.examples]

    def as_values(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "agrees": self.agrees,
            "lost": self.lost,
            "doubled": self.doubled,
            "differing": self.differing,
            "tables": [
                {**asdict(table), "examples": [example._asdict() for example in table.examples]}
                for table in self.tables
            ],
        }


def oracle_config(settings: Settings) -> OracleConfig:
    """Give what decides the tables beside the events, as the settings say; raises UserError without rates."""
    try:
        with settings.rates_file.open(newline="") as file:
            rates = tuple(
                (date.fromisoformat(row["rate_date"]), row["currency"], Decimal(row["rate"]))
                for row in csv.DictReader(file)
            )
    except (OSError, KeyError, ValueError, ArithmeticError) as error:
        raise UserError(
            f"{settings.rates_file} cannot be read ({error!r}): see PIPELINE_RATES_FILE"
        ) from error
    return OracleConfig(
        gap=timedelta(seconds=settings.session_gap_seconds),
        email_secret=settings.email_hash_secret.get_secret_value().encode(),
        rates=rates,
        base_currency=settings.base_currency,
    )


def reconcile(
    url: str,
    ledgers: Path | Iterable[Path],
    config: OracleConfig,
    *,
    others_until: datetime | None = None,
    schema: str = "silver",
    progress: Callable[[int], None] = lambda _: None,
) -> Reconciliation:
    """Compare ledgers with the tables; exact when nothing is under way.

    Memory grows with customers, visitors and products, not with events; the database keeps the rest in
    temporary tables.

    Args:
        url: of the database.
        ledgers: one, or several whose records all went into this database.
        config: see `oracle_config`.
        others_until: what arrived before it and is in no ledger is somebody else's, and what that touches is
            not compared; None: nobody else has sent anything, each such row is one too many.
        schema: where the tables are.
        progress: told how many more lines were read.

    Raises:
        UserError: a ledger cannot be read or is not the shop's, or the database does not answer.
    """
    paths: Sequence[Path] = [ledgers] if isinstance(ledgers, Path) else list(ledgers)
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            fill_expected(connection, paths, config, schema=schema, progress=progress)
            connection.commit()
            # One snapshot for all tables.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            return Reconciliation(
                compare_tables(connection, config.gap, others_until=others_until, schema=schema)
            )
    except OSError as error:
        raise UserError(f"the ledger {error.filename} cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise UserError(f"this is no ledger of `pipeline produce` or `demo`: {error}") from error
    except OracleError as error:
        raise UserError(str(error)) from error
    except psycopg.errors.UndefinedTable as error:
        raise UserError("the database has no tables yet: run `pipeline migrate` or `pipeline up`") from error
    except psycopg.Error as error:
        raise not_answering(error) from error
