"""The probability of each class beside the best guess: a review asks what the network thought of the person's class."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("feedback", "kept_photo")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("probabilities", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "probabilities")
