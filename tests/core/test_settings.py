"""The environment as settings."""

import pytest

from core.settings import Settings


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
