"""Sweeps and their members; idempotency keys of sweeps, apart from those of experiments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("spec_sha256", sa.Text(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("members > 0", name=op.f("ck_sweeps_members")),
        sa.PrimaryKeyConstraint("id", name="pk_sweeps"),
    )
    op.create_index("ix_sweeps_created_at_id", "sweeps", ["created_at", "id"], unique=False)
    op.create_index("ix_sweeps_labels", "sweeps", ["labels"], unique=False, postgresql_using="gin")
    op.create_table(
        "sweep_members",
        sa.Column("sweep_id", sa.Uuid(), nullable=False),
        sa.Column("member", sa.Integer(), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.Uuid(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.CheckConstraint("member >= 0 AND trial > 0", name=op.f("ck_sweep_members_numbers")),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_sweep_members_sweep_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name="fk_sweep_members_experiment_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sweep_id", "member", "trial", name="pk_sweep_members"),
        sa.UniqueConstraint("experiment_id", name="uq_sweep_members_experiment_id"),
    )
    # The keys that are there are those of experiments.
    op.add_column(
        "idempotency_keys", sa.Column("route", sa.Text(), server_default=sa.text("'experiments'"), nullable=False)
    )
    op.alter_column("idempotency_keys", "route", server_default=None)
    op.add_column("idempotency_keys", sa.Column("sweep_id", sa.Uuid(), nullable=True))
    op.alter_column("idempotency_keys", "experiment_id", nullable=True)
    op.drop_constraint("pk_idempotency_keys", "idempotency_keys")
    op.create_primary_key("pk_idempotency_keys", "idempotency_keys", ["caller", "route", "key"])
    op.create_foreign_key(
        "fk_idempotency_keys_sweep_id", "idempotency_keys", "sweeps", ["sweep_id"], ["id"], ondelete="CASCADE"
    )
    op.create_check_constraint(
        op.f("ck_idempotency_keys_route"),
        "idempotency_keys",
        "(route = 'experiments' AND experiment_id IS NOT NULL AND sweep_id IS NULL)"
        " OR (route = 'sweeps' AND sweep_id IS NOT NULL AND experiment_id IS NULL)",
    )


def downgrade() -> None:
    """The experiments that were members stay."""
    op.execute("DELETE FROM idempotency_keys WHERE route <> 'experiments'")
    op.drop_constraint(op.f("ck_idempotency_keys_route"), "idempotency_keys")
    op.drop_constraint("pk_idempotency_keys", "idempotency_keys")
    op.drop_column("idempotency_keys", "sweep_id")
    op.drop_column("idempotency_keys", "route")
    op.alter_column("idempotency_keys", "experiment_id", nullable=False)
    op.create_primary_key("pk_idempotency_keys", "idempotency_keys", ["caller", "key"])
    op.drop_table("sweep_members")
    op.drop_table("sweeps")
