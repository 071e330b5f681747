"""The feedback table."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("prediction_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.Column("correct", sa.Boolean, nullable=False),
        sa.Column("label", sa.String(64)),
        sa.Column("note", sa.String(1000), nullable=False),
        sa.Column("predicted_label", sa.String(64), nullable=False),
        sa.Column("best_guess", sa.String(64), nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("in_distribution", sa.Boolean, nullable=False),
        sa.Column("ood_p_value", sa.Double, nullable=False),
        sa.Column("cnn_tag", sa.String(200), nullable=False),
        sa.Column("image_sha256", sa.String(64)),
        sa.Column("dhash", sa.String(16)),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("reviewed_at", sa.DateTime),
        sa.Column("reviewed_label", sa.String(64)),
        sa.CheckConstraint("state IN ('pending', 'accepted', 'rejected')", name="feedback_state"),
        sqlite_autoincrement=True,
    )
    op.create_index("feedback_prediction", "feedback", ["prediction_id"], unique=True)
    op.create_index("feedback_image", "feedback", ["image_sha256"])
    op.create_index("feedback_state_correct", "feedback", ["state", "correct"])
    op.create_index("feedback_created", "feedback", ["created_at"])


def downgrade() -> None:
    op.drop_table("feedback")
