"""How well a fit of customers' worth foresaw what it was not shown.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE ops.ops_ltv_fits ADD COLUMN holdout JSONB")


def downgrade() -> None:
    raise NotImplementedError("a revision is not taken back: restore the database instead")
