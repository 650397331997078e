"""What Alembic runs: on the connection that `migrations.upgrade` gives, or, from its command line, on DATABASE_URL."""

from alembic import context
from sqlalchemy import Connection

from core.settings import settings
from core.store.engine import make_engine
from core.store.tables import Base


def migrate(connection: Connection) -> None:
    """Runs the migrations in the transaction of the connection."""
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with make_engine(settings().database_url.get_secret_value(), pool_size=1).begin() as own:
        migrate(own)
