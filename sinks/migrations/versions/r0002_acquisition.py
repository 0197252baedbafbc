"""Which event a customer's acquisition is from; sums of any size; the schema that dbt's star stands in.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS core")
    op.execute(TABLES)
    op.execute(ACQUISITION)


def downgrade() -> None:
    raise NotImplementedError("a revision is not taken back: restore the database instead")


TABLES = """
-- It stands on columns whose type changes; views are made anew after the revisions.
DROP VIEW IF EXISTS silver.silver_live_sessions;

ALTER TABLE silver.silver_customers
    ADD COLUMN acquisition_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN acquisition_event_id UUID,
    ALTER COLUMN total_spent TYPE NUMERIC(38, 4);

ALTER TABLE silver.silver_sessions ALTER COLUMN revenue_base TYPE NUMERIC(38, 4);

DROP INDEX silver.silver_product_events_visitor_id_idx;
CREATE INDEX silver_product_events_visitor_id_occurred_at_idx
    ON silver.silver_product_events (visitor_id, occurred_at);
"""

# The earliest event with a context of each customer, its own or one of a visitor that is linked to it.
ACQUISITION = """
WITH events AS (
    SELECT customer_id, occurred_at, event_id, channel, campaign
    FROM silver.silver_customer_events WHERE channel IS NOT NULL
    UNION ALL
    SELECT customer_id, occurred_at, event_id, channel, campaign
    FROM silver.silver_transactions WHERE channel IS NOT NULL
    UNION ALL
    SELECT customer_id, occurred_at, event_id, channel, campaign
    FROM silver.silver_product_events WHERE channel IS NOT NULL AND customer_id IS NOT NULL
    UNION ALL
    SELECT links.customer_id, events.occurred_at, events.event_id, events.channel, events.campaign
    FROM (SELECT DISTINCT anonymous_id, customer_id FROM silver.silver_identities) AS links
    JOIN silver.silver_product_events AS events
        ON events.visitor_id = links.anonymous_id AND events.customer_id IS NULL
            AND events.channel IS NOT NULL
),

earliest AS (
    SELECT DISTINCT ON (customer_id) * FROM events ORDER BY customer_id, occurred_at, event_id
)

UPDATE silver.silver_customers AS stored
SET acquisition_at = earliest.occurred_at,
    acquisition_event_id = earliest.event_id,
    acquisition_channel = earliest.channel,
    acquisition_campaign = earliest.campaign
FROM earliest
WHERE earliest.customer_id = stored.customer_id
"""
