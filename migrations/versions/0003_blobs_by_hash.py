"""Which checkpoints and artifacts refer to a file: asked of every file that is swept away."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_checkpoints_sha256", "checkpoints", ["sha256"], unique=False)
    op.create_index("ix_artifacts_sha256", "artifacts", ["sha256"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_artifacts_sha256", "artifacts")
    op.drop_index("ix_checkpoints_sha256", "checkpoints")
