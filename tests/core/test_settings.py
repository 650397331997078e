"""The environment as settings."""

from collections.abc import Iterator

import pytest

from core.errors import SettingsInvalid
from core.settings import Settings, settings


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILEVEL_API_KEY", "")
    monkeypatch.setenv("BILEVEL_SLOTS", "")
    found = Settings()
    assert found.api_key is None, "an empty key would open the service to everybody"
    assert found.slots == 0


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILEVEL_API_KEY", "blv_secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/database")
    assert "secret" not in repr(Settings())


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("BILEVEL_SLOTS", "-1", "BILEVEL_SLOTS '-1': input should be greater than or equal to 0"),
        ("BILEVEL_LEASE_SECONDS", "x", "BILEVEL_LEASE_SECONDS 'x': input should be a valid number"),
        ("BILEVEL_LEASE_SECONDS", "20", r"BILEVEL_ABANDON_SECONDS \(30\) .* less than BILEVEL_LEASE_SECONDS \(20\)"),
        ("BILEVEL_HEARTBEAT_SECONDS", "30", r"more than BILEVEL_HEARTBEAT_SECONDS \(30\)"),
        ("DATABASE_URL", "postgresql://u:geheim@h:notaport/db", "^DATABASE_URL: an address is `postgresql://user:pass"),
        ("DATABASE_URL", "geheim", "^DATABASE_URL: an address is"),
        ("DATABASE_URL", "mysql://u:geheim@h/db", "^DATABASE_URL: an address is"),
        ("BROKER_URL", "redis://:geheim@h:notaport/0", "^BROKER_URL: an address is `redis://:password@host:port/0`"),
        ("BROKER_URL", "redis://:geheim@h:99999/0", "^BROKER_URL: an address is"),
        ("BROKER_URL", "geheim", "^BROKER_URL: an address is"),
        ("BROKER_URL", "nosuch://geheim", "^BROKER_URL: an address is"),
        ("BILEVEL_API_KEY", "geheim \N{LATIN SMALL LETTER U WITH DIAERESIS}", "^BILEVEL_API_KEY: a key has letters"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=message) as told:
        settings()
    assert "geheim" not in str(told.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgresql://bilevel@/bilevel?host=%2Ftmp%2Fsockets"),
        ("DATABASE_URL", "postgresql+psycopg://u:p#/?[x@[::1]:5432/db?sslmode=require"),
        ("DATABASE_URL", "postgres://host"),
        ("BROKER_URL", "redis+socket:///tmp/redis.sock"),
        ("BROKER_URL", "rediss://:p%40@host:6379/0?ssl_cert_reqs=required"),
        ("BROKER_URL", "amqp://u:p@one//;amqp://u:p@two:5672//"),
        ("BROKER_URL", "pyamqp://guest@localhost//"),
    ],
)
def test_addresses_that_can_be(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    found = settings()
    assert value in (found.database_url.get_secret_value(), found.broker_url.get_secret_value())


def test_every_wrong_value_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILEVEL_SLOTS", "-1")
    monkeypatch.setenv("BILEVEL_REAP_SECONDS", "0")
    with pytest.raises(SettingsInvalid) as told:
        settings()
    assert [line.split()[0] for line in str(told.value).splitlines()] == ["BILEVEL_SLOTS", "BILEVEL_REAP_SECONDS"]
