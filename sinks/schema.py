"""The tables of bronze, silver and ops, as SQLAlchemy Core metadata; gold is made by dbt.

The database is changed by the migrations only; a test holds that they and this file agree.
"""

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import TypeEngine, UserDefinedType

from streams.dead_letters import Reason
from streams.events import STREAMS, Stream

SCHEMAS: Final = ("bronze", "silver", "gold", "ops")
FACT_PARTITIONS: Final = 8
PERSONAL: Final = "personal"
"""Comment of a column that only the operator's role may read."""

DEAD_LETTER_STATUSES: Final = ("pending", "replayed", "exhausted", "discarded")

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


class Xid8(UserDefinedType[int]):
    """A transaction's id that never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Give the type's name in SQL."""
        return "xid8"


ischema_names.setdefault("xid8", Xid8)  # so that reflection knows the type

Instant: Final = DateTime(timezone=True)
Money: Final = Numeric(18, 4)
Sum: Final = Numeric(38, 4)
NOW: Final = text("now()")
FALSE: Final = text("false")


def _needed(name: str, kind: TypeEngine[Any] | type[TypeEngine[Any]], default: Any = None) -> Column[Any]:
    return Column(name, kind, nullable=False, server_default=default)


def _transport() -> list[Column[Any]]:
    return [
        _needed("stream_epoch", BigInteger),
        _needed("shard", Text),
        _needed("sequence_number", Text),
        _needed("sub_sequence_number", BigInteger),
    ]


# bronze: records as they came, one table a stream, partitioned by day of arrival


def bronze_name(stream: str) -> str:
    """Give the name of a stream's bronze table (in schema `bronze`)."""
    return f"bronze_{stream.replace('-', '_')}"


def _bronze(stream: Stream) -> Table:
    return Table(
        bronze_name(stream),
        metadata,
        _needed("arrived_at", Instant),
        *_transport(),
        _needed("partition_key", Text),
        Column("payload", JSON),
        Column("raw", LargeBinary),
        Column("event_id", Uuid),
        Column("event_type", Text),
        Column("occurred_at", Instant),
        _needed("loaded_at", Instant, NOW),
        PrimaryKeyConstraint("arrived_at", "stream_epoch", "shard", "sequence_number", "sub_sequence_number"),
        Index(None, "event_id"),
        schema="bronze",
        postgresql_partition_by="RANGE (arrived_at)",
    )


BRONZE: Final[dict[Stream, Table]] = {stream: _bronze(stream) for stream in STREAMS}

# silver, facts: one row per event, hash-partitioned by event_id so that identity holds whatever else it says


def _fact(name: str, *columns: Column[Any], indexes: tuple[Index, ...] = ()) -> Table:
    return Table(
        name,
        metadata,
        Column("event_id", Uuid, primary_key=True),
        _needed("content_hash", BigInteger),
        _needed("occurred_at", Instant),
        _needed("arrived_at", Instant),
        _needed("stream", Text),
        *_transport(),
        _needed("is_late", Boolean, FALSE),
        _needed("loaded_at", Instant, NOW),
        *columns,
        Index(None, "occurred_at", postgresql_using="brin"),
        Index(None, "loaded_at", postgresql_using="brin"),
        *indexes,
        schema="silver",
        postgresql_partition_by="HASH (event_id)",
    )


def _visitor_context() -> list[Column[Any]]:
    return [
        Column("visitor_id", Text),
        Column("page_url", Text),
        Column("referrer", Text),
        Column("channel", Text),
        Column("campaign", Text),
        Column("country", Text),
        Column("device", Text),
        Column("browser", Text),
        _needed("is_bot", Boolean, FALSE),
    ]


silver_transactions = _fact(
    "silver_transactions",
    *_visitor_context(),
    _needed("transaction_type", Text),
    Column("order_id", Text),
    Column("subscription_id", Text),
    _needed("customer_id", Text),
    Column("amount", Money),
    Column("currency", Text),
    Column("amount_base", Money),
    Column("category", Text),
    Column("items", JSONB),
    Column("plan", Text),
    Column("monthly_amount", Money),
    Column("monthly_amount_base", Money),
    Column("payment_method", Text),
    Column("discount", Money),
    Column("coupon", Text),
    Column("rate", Numeric),
    Column("rate_date", Date),
    indexes=(Index(None, "customer_id"), Index(None, "order_id")),
)
silver_product_events = _fact(
    "silver_product_events",
    *_visitor_context(),
    _needed("event_type", Text),
    Column("customer_id", Text),
    Column("anonymous_id", Text),
    Column("product_id", Text),
    Column("query", Text),
    Column("quantity", BigInteger),
    Column("rating", SmallInteger),
    indexes=(Index(None, "visitor_id", "occurred_at"),),
)
silver_customer_events = _fact(
    "silver_customer_events",
    *_visitor_context(),
    _needed("event_type", Text),
    _needed("customer_id", Text),
    Column("anonymous_id", Text),
    Column("changed", JSONB),
    indexes=(Index(None, "customer_id"),),
)
silver_system_logs = _fact(
    "silver_system_logs",
    _needed("service", Text),
    _needed("level", Text),
    _needed("message", Text),
    Column("latency_ms", Double),
    Column("status_code", Integer),
    Column("trace_id", Text),
)
FACTS: Final = (silver_transactions, silver_product_events, silver_customer_events, silver_system_logs)

# silver, entities: one row per thing. The revision is that of the record applied last; null: none yet


def _revision() -> list[Column[Any]]:
    return [Column("revision_epoch", BigInteger), Column("revision_offset", BigInteger)]


silver_customers = Table(
    "silver_customers",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("email", Text, comment=PERSONAL),
    Column("name", Text, comment=PERSONAL),
    Column("email_hash", Text),
    Column("email_domain", Text),
    Column("country", Text),
    _needed("created_at", Instant),
    Column("acquisition_channel", Text),
    Column("acquisition_campaign", Text),
    Column("marketing_opt_in", Boolean),
    _needed("first_seen_at", Instant),
    _needed("last_seen_at", Instant),
    _needed("orders", BigInteger, text("0")),
    _needed("total_spent", Sum, text("0")),
    _needed("is_deleted", Boolean, FALSE),
    _needed("updated_at", Instant, NOW),
    *_revision(),
    Column("acquisition_at", Instant),
    Column("acquisition_event_id", Uuid),
    schema="silver",
)
silver_products = Table(
    "silver_products",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("name", Text),
    Column("category", Text),
    Column("price", Money),
    Column("currency", Text),
    Column("stock", BigInteger),
    _needed("is_listed", Boolean, FALSE),
    Column("listed_at", Instant),
    _needed("updated_at", Instant, NOW),
    *_revision(),
    schema="silver",
)
silver_sessions = Table(
    "silver_sessions",
    metadata,
    Column("session_id", Text, primary_key=True),
    _needed("visitor_id", Text),
    Column("customer_id", Text),
    _needed("started_at", Instant),
    _needed("ended_at", Instant),
    *[
        _needed(name, BigInteger, text("0"))
        for name in (
            "events",
            "page_views",
            "products_viewed",
            "carts",
            "searches",
            "checkouts",
            "purchases",
        )
    ],
    _needed("revenue_base", Sum, text("0")),
    Column("channel", Text),
    Column("campaign", Text),
    Column("landing_page", Text),
    Column("exit_page", Text),
    Column("referrer", Text),
    Column("country", Text),
    Column("device", Text),
    Column("browser", Text),
    _needed("is_bot", Boolean, FALSE),
    _needed("is_runaway", Boolean, FALSE),
    _needed("events_approximate", Boolean, FALSE),
    _needed("updated_at", Instant, NOW),
    Index(None, "visitor_id", "started_at"),
    Index(None, "ended_at"),
    schema="silver",
)
silver_identities = Table(
    "silver_identities",
    metadata,
    Column("anonymous_id", Text, primary_key=True),
    Column("customer_id", Text, primary_key=True),
    Column("seen_at", Instant, primary_key=True),
    Index(None, "customer_id"),
    schema="silver",
)
silver_late_events = Table(
    "silver_late_events",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    _needed("occurred_at", Instant),
    _needed("lateness_seconds", Double),
    _needed("outcome", Text),
    _needed("loaded_at", Instant, NOW),
    schema="silver",
)


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


dead_letters = Table(
    "dead_letters",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("stream_epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", Text, primary_key=True),
    Column("sequence_number", Text, primary_key=True),
    Column("sub_sequence_number", BigInteger, primary_key=True, autoincrement=False),
    _needed("partition_key", Text),
    _needed("stage", Text),
    _needed("reason", Text),
    _needed("errors", JSONB, text("'[]'")),
    Column("payload", LargeBinary),
    Column("event_id", Text),
    Column("event_type", Text),
    Column("occurred_at", Instant),
    _needed("arrived_at", Instant),
    _needed("failed_at", Instant),
    _needed("processor", Text),
    _needed("processor_version", Text),
    _needed("status", Text, text("'pending'")),
    _needed("attempt", Integer, text("0")),
    Column("replayed_payload", LargeBinary),
    _needed("updated_at", Instant, NOW),
    CheckConstraint(_one_of("status", DEAD_LETTER_STATUSES), name="status"),
    CheckConstraint(_one_of("reason", tuple(reason.value for reason in Reason)), name="reason"),
    Index(None, "status", "reason"),
    Index(None, "event_id"),
    schema="silver",
)

# ops: the pipeline's own books

ops_changes = Table(
    "ops_changes",
    metadata,
    _needed("xid", Xid8, text("pg_current_xact_id()")),
    _needed("kind", Text),
    _needed("key", Text),
    Column("day", Date),
    _needed("at", Instant, NOW),
    Index(None, "xid"),
    schema="ops",
)
ops_hops = Table(
    "ops_hops",
    metadata,
    _needed("at", Instant, text("clock_timestamp()")),
    _needed("hop", Text),
    _needed("stream", Text),
    Column("event_id", Uuid),
    _needed("age_seconds", Double),
    Index(None, "at", postgresql_using="brin"),
    schema="ops",
)
ops_session_revisions = Table(
    "ops_session_revisions",
    metadata,
    Column("visitor_id", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    _needed("epoch", BigInteger),
    _needed("offset", BigInteger),
    schema="ops",
)
ops_dbt_runs = Table(
    "ops_dbt_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    _needed("started_at", Instant),
    Column("finished_at", Instant),
    _needed("status", Text, text("'running'")),
    _needed("full_refresh", Boolean, FALSE),
    Column("as_of", Instant),
    Column("copied_at", Instant),
    Column("from_xid", Xid8),
    Column("to_xid", Xid8),
    Column("models", Integer),
    Column("tests", Integer),
    Column("failures", Integer),
    Column("failed_nodes", ARRAY(Text)),
    Column("message", Text),
    Column("results", JSONB),
    # Written in the transaction that publishes: whoever reads it with gold knows of which run gold is.
    Column("published_at", Instant),
    Column("rows_added", BigInteger),
    Column("rows_removed", BigInteger),
    Index(None, "started_at"),
    schema="ops",
)
ops_quality_checks = Table(
    "ops_quality_checks",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _needed("name", Text),
    _needed("dimension", Text),
    Column("table_name", Text),
    _needed("severity", Text),
    _needed("passed", Boolean),
    Column("value", Double),
    Column("threshold", Text),
    Column("rows_failing", BigInteger),
    Column("failing_rows", JSONB),
    Column("message", Text),
    # An outcome that comes again is the same row: from when, until when, and how often.
    _needed("first_at", Instant),
    _needed("last_at", Instant),
    _needed("times", BigInteger, text("1")),
    Column("run_id", Text),
    Index(None, "name", "id"),
    schema="ops",
)
ops_ltv_fits = Table(
    "ops_ltv_fits",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _needed("fitted_at", Instant, NOW),
    _needed("as_of", Instant),
    _needed("model", Text),
    _needed("customers", BigInteger),
    Column("converged", Boolean),
    Column("log_likelihood", Double),
    Column("parameters", JSONB),
    Column("message", Text),
    Column("holdout", JSONB),
    schema="ops",
)
