"""The table of photos that are kept although nobody gave feedback on them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_photo",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("prediction_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("predicted_label", sa.String(64), nullable=False),
        sa.Column("best_guess", sa.String(64), nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("in_distribution", sa.Boolean, nullable=False),
        sa.Column("ood_p_value", sa.Double, nullable=False),
        sa.Column("cnn_tag", sa.String(200), nullable=False),
        sa.Column("image_sha256", sa.String(64), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("kept_photo_prediction", "kept_photo", ["prediction_id"], unique=True)
    op.create_index("kept_photo_image", "kept_photo", ["image_sha256"])
    op.create_index("kept_photo_created", "kept_photo", ["created_at"])


def downgrade() -> None:
    op.drop_table("kept_photo")
