"""The first tables: bronze, silver and the books of ops.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FACTS = ("silver_transactions", "silver_product_events", "silver_customer_events", "silver_system_logs")
FACT_PARTITIONS = 8


def upgrade() -> None:
    for schema in ("bronze", "silver", "gold", "ops"):
        op.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    op.execute(TABLES)
    for table in FACTS:
        for remainder in range(FACT_PARTITIONS):
            op.execute(
                f"CREATE TABLE silver.{table}_{remainder} PARTITION OF silver.{table} "
                f"FOR VALUES WITH (MODULUS {FACT_PARTITIONS}, REMAINDER {remainder})"
            )


def downgrade() -> None:
    raise NotImplementedError("the first revision is not taken back: drop the database instead")


TABLES = """
CREATE TABLE bronze.bronze_customer_events (
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    partition_key TEXT NOT NULL,
    payload JSON,
    raw BYTEA,
    event_id UUID,
    event_type TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT bronze_customer_events_pkey PRIMARY KEY (
        arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number
    )
) PARTITION BY RANGE (arrived_at);

CREATE INDEX bronze_customer_events_event_id_idx ON bronze.bronze_customer_events (event_id);

CREATE TABLE bronze.bronze_transaction_events (
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    partition_key TEXT NOT NULL,
    payload JSON,
    raw BYTEA,
    event_id UUID,
    event_type TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT bronze_transaction_events_pkey PRIMARY KEY (
        arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number
    )
) PARTITION BY RANGE (arrived_at);

CREATE INDEX bronze_transaction_events_event_id_idx ON bronze.bronze_transaction_events (event_id);

CREATE TABLE bronze.bronze_product_events (
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    partition_key TEXT NOT NULL,
    payload JSON,
    raw BYTEA,
    event_id UUID,
    event_type TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT bronze_product_events_pkey PRIMARY KEY (
        arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number
    )
) PARTITION BY RANGE (arrived_at);

CREATE INDEX bronze_product_events_event_id_idx ON bronze.bronze_product_events (event_id);

CREATE TABLE bronze.bronze_system_logs (
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    partition_key TEXT NOT NULL,
    payload JSON,
    raw BYTEA,
    event_id UUID,
    event_type TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT bronze_system_logs_pkey PRIMARY KEY (
        arrived_at, stream_epoch, shard, sequence_number, sub_sequence_number
    )
) PARTITION BY RANGE (arrived_at);

CREATE INDEX bronze_system_logs_event_id_idx ON bronze.bronze_system_logs (event_id);

CREATE TABLE silver.silver_transactions (
    event_id UUID NOT NULL,
    content_hash BIGINT NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stream TEXT NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    is_late BOOLEAN DEFAULT false NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    visitor_id TEXT,
    page_url TEXT,
    referrer TEXT,
    channel TEXT,
    campaign TEXT,
    country TEXT,
    device TEXT,
    browser TEXT,
    is_bot BOOLEAN DEFAULT false NOT NULL,
    transaction_type TEXT NOT NULL,
    order_id TEXT,
    subscription_id TEXT,
    customer_id TEXT NOT NULL,
    amount NUMERIC(18, 4),
    currency TEXT,
    amount_base NUMERIC(18, 4),
    category TEXT,
    items JSONB,
    plan TEXT,
    monthly_amount NUMERIC(18, 4),
    monthly_amount_base NUMERIC(18, 4),
    payment_method TEXT,
    discount NUMERIC(18, 4),
    coupon TEXT,
    rate NUMERIC,
    rate_date DATE,
    CONSTRAINT silver_transactions_pkey PRIMARY KEY (event_id)
) PARTITION BY HASH (event_id);

CREATE INDEX silver_transactions_customer_id_idx ON silver.silver_transactions (customer_id);
CREATE INDEX silver_transactions_occurred_at_idx ON silver.silver_transactions USING brin (occurred_at);
CREATE INDEX silver_transactions_order_id_idx ON silver.silver_transactions (order_id);

CREATE TABLE silver.silver_product_events (
    event_id UUID NOT NULL,
    content_hash BIGINT NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stream TEXT NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    is_late BOOLEAN DEFAULT false NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    visitor_id TEXT,
    page_url TEXT,
    referrer TEXT,
    channel TEXT,
    campaign TEXT,
    country TEXT,
    device TEXT,
    browser TEXT,
    is_bot BOOLEAN DEFAULT false NOT NULL,
    event_type TEXT NOT NULL,
    customer_id TEXT,
    anonymous_id TEXT,
    product_id TEXT,
    query TEXT,
    quantity BIGINT,
    rating SMALLINT,
    CONSTRAINT silver_product_events_pkey PRIMARY KEY (event_id)
) PARTITION BY HASH (event_id);

CREATE INDEX silver_product_events_occurred_at_idx ON silver.silver_product_events USING brin (occurred_at);
CREATE INDEX silver_product_events_visitor_id_idx ON silver.silver_product_events (visitor_id);

CREATE TABLE silver.silver_customer_events (
    event_id UUID NOT NULL,
    content_hash BIGINT NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stream TEXT NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    is_late BOOLEAN DEFAULT false NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    visitor_id TEXT,
    page_url TEXT,
    referrer TEXT,
    channel TEXT,
    campaign TEXT,
    country TEXT,
    device TEXT,
    browser TEXT,
    is_bot BOOLEAN DEFAULT false NOT NULL,
    event_type TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    anonymous_id TEXT,
    changed JSONB,
    CONSTRAINT silver_customer_events_pkey PRIMARY KEY (event_id)
) PARTITION BY HASH (event_id);

CREATE INDEX silver_customer_events_customer_id_idx ON silver.silver_customer_events (customer_id);
CREATE INDEX silver_customer_events_occurred_at_idx ON silver.silver_customer_events USING brin (occurred_at);

CREATE TABLE silver.silver_system_logs (
    event_id UUID NOT NULL,
    content_hash BIGINT NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stream TEXT NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    is_late BOOLEAN DEFAULT false NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    service TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    latency_ms DOUBLE PRECISION,
    status_code INTEGER,
    trace_id TEXT,
    CONSTRAINT silver_system_logs_pkey PRIMARY KEY (event_id)
) PARTITION BY HASH (event_id);

CREATE INDEX silver_system_logs_occurred_at_idx ON silver.silver_system_logs USING brin (occurred_at);

CREATE TABLE silver.silver_customers (
    customer_id TEXT NOT NULL,
    email TEXT,
    name TEXT,
    email_hash TEXT,
    email_domain TEXT,
    country TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    acquisition_channel TEXT,
    acquisition_campaign TEXT,
    marketing_opt_in BOOLEAN,
    first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    orders BIGINT DEFAULT 0 NOT NULL,
    total_spent NUMERIC(18, 4) DEFAULT 0 NOT NULL,
    is_deleted BOOLEAN DEFAULT false NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision_epoch BIGINT,
    revision_offset BIGINT,
    CONSTRAINT silver_customers_pkey PRIMARY KEY (customer_id)
);

COMMENT ON COLUMN silver.silver_customers.email IS 'personal';
COMMENT ON COLUMN silver.silver_customers.name IS 'personal';

CREATE TABLE silver.silver_products (
    product_id TEXT NOT NULL,
    name TEXT,
    category TEXT,
    price NUMERIC(18, 4),
    currency TEXT,
    stock BIGINT,
    is_listed BOOLEAN DEFAULT false NOT NULL,
    listed_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision_epoch BIGINT,
    revision_offset BIGINT,
    CONSTRAINT silver_products_pkey PRIMARY KEY (product_id)
);

CREATE TABLE silver.silver_sessions (
    session_id TEXT NOT NULL,
    visitor_id TEXT NOT NULL,
    customer_id TEXT,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE NOT NULL,
    events BIGINT DEFAULT 0 NOT NULL,
    page_views BIGINT DEFAULT 0 NOT NULL,
    products_viewed BIGINT DEFAULT 0 NOT NULL,
    carts BIGINT DEFAULT 0 NOT NULL,
    searches BIGINT DEFAULT 0 NOT NULL,
    checkouts BIGINT DEFAULT 0 NOT NULL,
    purchases BIGINT DEFAULT 0 NOT NULL,
    revenue_base NUMERIC(18, 4) DEFAULT 0 NOT NULL,
    channel TEXT,
    campaign TEXT,
    landing_page TEXT,
    exit_page TEXT,
    referrer TEXT,
    country TEXT,
    device TEXT,
    browser TEXT,
    is_bot BOOLEAN DEFAULT false NOT NULL,
    is_runaway BOOLEAN DEFAULT false NOT NULL,
    events_approximate BOOLEAN DEFAULT false NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT silver_sessions_pkey PRIMARY KEY (session_id)
);

CREATE INDEX silver_sessions_ended_at_idx ON silver.silver_sessions (ended_at);
CREATE INDEX silver_sessions_visitor_id_started_at_idx ON silver.silver_sessions (visitor_id, started_at);

CREATE TABLE silver.silver_identities (
    anonymous_id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT silver_identities_pkey PRIMARY KEY (anonymous_id, customer_id, seen_at)
);

CREATE INDEX silver_identities_customer_id_idx ON silver.silver_identities (customer_id);

CREATE TABLE silver.silver_late_events (
    event_id UUID NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    lateness_seconds DOUBLE PRECISION NOT NULL,
    outcome TEXT NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT silver_late_events_pkey PRIMARY KEY (event_id)
);

CREATE TABLE silver.dead_letters (
    stream TEXT NOT NULL,
    stream_epoch BIGINT NOT NULL,
    shard TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    partition_key TEXT NOT NULL,
    stage TEXT NOT NULL,
    reason TEXT NOT NULL,
    errors JSONB DEFAULT '[]' NOT NULL,
    payload BYTEA,
    event_id TEXT,
    event_type TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    processor TEXT NOT NULL,
    processor_version TEXT NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    attempt INTEGER DEFAULT 0 NOT NULL,
    replayed_payload BYTEA,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (
        stream, stream_epoch, shard, sequence_number, sub_sequence_number
    ),
    CONSTRAINT dead_letters_status_check CHECK (status IN ('pending', 'replayed', 'exhausted', 'discarded')),
    CONSTRAINT dead_letters_reason_check CHECK (
        reason IN ('not_utf8', 'not_json', 'not_an_object', 'too_large',
            'unknown_event_type', 'unknown_version', 'missing_field', 'wrong_type',
            'invalid_value', 'invalid_timestamp', 'future_timestamp', 'unknown_currency',
            'conflicting_event_id', 'refused_by_sink', 'processing_error')
    )
);

CREATE INDEX dead_letters_event_id_idx ON silver.dead_letters (event_id);
CREATE INDEX dead_letters_status_reason_idx ON silver.dead_letters (status, reason);

CREATE TABLE ops.ops_changes (
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    day DATE,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL
);

CREATE INDEX ops_changes_xid_idx ON ops.ops_changes (xid);

CREATE TABLE ops.ops_hops (
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    hop TEXT NOT NULL,
    stream TEXT NOT NULL,
    event_id UUID,
    age_seconds DOUBLE PRECISION NOT NULL
);

CREATE INDEX ops_hops_at_idx ON ops.ops_hops USING brin (at);

CREATE TABLE ops.ops_session_revisions (
    visitor_id TEXT NOT NULL,
    day DATE NOT NULL,
    epoch BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    CONSTRAINT ops_session_revisions_pkey PRIMARY KEY (visitor_id, day)
);

CREATE TABLE ops.ops_dbt_runs (
    run_id TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    status TEXT DEFAULT 'running' NOT NULL,
    full_refresh BOOLEAN DEFAULT false NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE,
    from_xid xid8,
    to_xid xid8,
    models INTEGER,
    tests INTEGER,
    failures INTEGER,
    failed_nodes TEXT[],
    message TEXT,
    results JSONB,
    CONSTRAINT ops_dbt_runs_pkey PRIMARY KEY (run_id)
);

CREATE INDEX ops_dbt_runs_started_at_idx ON ops.ops_dbt_runs (started_at);

CREATE TABLE ops.ops_quality_checks (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    run_id TEXT,
    checked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    name TEXT NOT NULL,
    model TEXT,
    status TEXT NOT NULL,
    failures BIGINT,
    message TEXT,
    CONSTRAINT ops_quality_checks_pkey PRIMARY KEY (id)
);

CREATE INDEX ops_quality_checks_checked_at_idx ON ops.ops_quality_checks (checked_at);

CREATE TABLE ops.ops_ltv_fits (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    fitted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    model TEXT NOT NULL,
    customers BIGINT NOT NULL,
    converged BOOLEAN,
    log_likelihood DOUBLE PRECISION,
    parameters JSONB,
    message TEXT,
    CONSTRAINT ops_ltv_fits_pkey PRIMARY KEY (id)
);
"""
