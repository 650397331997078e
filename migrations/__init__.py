"""The database's schema, step by step: `upgrade` brings a database to the newest revision."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from core.store.engine import make_engine

LOCK = 0x62696C65_00000001
"""Advisory lock: two processes that migrate at once go one after the other."""


def upgrade(url: str, revision: str = "head") -> None:
    """Brings the database up to a revision; does nothing where it is there already."""
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str = "base") -> None:
    """Takes the database back to a revision; `base` removes every table and what is in it."""
    _run(url, lambda config: command.downgrade(config, revision))


def head() -> str:
    """The newest revision that this installation knows."""
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    assert revision is not None
    return revision


def current(engine: Engine) -> str | None:
    """The revision at which the database stands; None: it has no tables of ours."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, made in code so that it works from an installed wheel too."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _run(url: str, action: Callable[[Config], None]) -> None:
    engine = make_engine(url, pool_size=1, name="bilevel migrations", stall_seconds=0)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            action(configuration(connection))
    finally:
        engine.dispose()
