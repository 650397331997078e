"""The migrations make the tables that the code declares, and take them away again."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

import migrations
from core.spec import Sweep
from core.store.engine import make_engine, transaction
from core.store.idempotency import IdempotencyKey
from core.store.sweeping import submit_sweep
from core.store.tables import Base


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Engine]:
    engine = make_engine(empty_database_url)
    yield engine
    engine.dispose()


def test_upgrade_from_nothing_gives_the_declared_tables(empty: Engine, empty_database_url: str) -> None:
    assert migrations.current(empty) is None
    migrations.upgrade(empty_database_url)
    assert migrations.current(empty) == migrations.head()
    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        checks = {
            check["name"]
            for table in Base.metadata.tables
            for check in inspect(connection).get_check_constraints(table)
        }
    assert checks == {
        str(c.name) for t in Base.metadata.tables.values() for c in t.constraints if str(c.name)[:2] == "ck"
    }


def test_upgrade_twice_changes_nothing(engine: Engine, database_url: str) -> None:
    before = inspect(engine).get_table_names()
    migrations.upgrade(database_url)
    assert inspect(engine).get_table_names() == before
    assert migrations.current(engine) == migrations.head()


def test_two_processes_upgrade_at_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:  # Alembic's own state is a process's, so one of the two is a real process
        other = pool.submit(
            subprocess.run,
            [sys.executable, "-m", "migrations"],
            env={"DATABASE_URL": empty_database_url},
            capture_output=True,
            text=True,
            check=False,
        )
        migrations.upgrade(empty_database_url)
    assert other.result().returncode == 0, other.result().stderr
    assert "revision" in other.result().stderr


def test_downgrade_to_nothing(empty: Engine, empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    migrations.downgrade(empty_database_url)
    assert inspect(empty).get_table_names() == ["alembic_version"]
    assert migrations.current(empty) is None


def test_without_a_database_the_command_says_what_to_set() -> None:
    answer = subprocess.run([sys.executable, "-m", "migrations"], env={}, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "DATABASE_URL" in answer.stderr


def test_sweeps_come_and_go_beside_experiments_and_their_keys(empty: Engine, empty_database_url: str) -> None:
    """Keys of before are keys of experiments; going back, the experiments that were members stay, the sweeps go."""
    migrations.upgrade(empty_database_url, "0001")
    old = """
        INSERT INTO experiments (id, name, labels, kind, spec, spec_sha256, device, priority, hyperiterations)
        VALUES (gen_random_uuid(), 'old', '{}', 'quadratic', '{}', 'x', 'auto', 0, 1);
        INSERT INTO idempotency_keys (caller, key, body_sha256, experiment_id)
        SELECT 'me', 'k', '\\x00', id FROM experiments;
    """
    with empty.begin() as connection:
        connection.execute(text(old))
    migrations.upgrade(empty_database_url)
    with empty.connect() as connection:
        assert connection.execute(text("SELECT route FROM idempotency_keys")).scalars().all() == ["experiments"]
    sweep = Sweep.model_validate({"base": {"problem": {"kind": "quadratic"}}, "seeds": [0, 1]})
    with transaction(empty) as session:
        submit_sweep(session, sweep, IdempotencyKey("me", "k"))
    migrations.downgrade(empty_database_url, "0001")
    assert not {"sweeps", "sweep_members"} & set(inspect(empty).get_table_names())
    with empty.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM experiments")).scalar_one() == 3
        assert connection.execute(text("SELECT caller, key FROM idempotency_keys")).all() == [("me", "k")]
    migrations.upgrade(empty_database_url)
    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
