"""Clients of a real server, and the command run in this process."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from bilevel_client import Client
from bilevel_client.commands import main


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    """A client of a real server."""
    with Client(address, patience=5) as client:
        yield client


class Command:
    """The `bilevel` command with an address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, *arguments: str, status: int = 0, stdin: str | None = None) -> Result:
        """Runs it and makes sure of its exit status."""
        environment = {"BILEVEL_URL": self.address, "BILEVEL_API_KEY": None}
        result = CliRunner().invoke(main, list(arguments), env=environment, input=stdin)
        assert result.exit_code == status, (result.output, result.exception)
        return result


@pytest.fixture
def bilevel(address: str) -> Command:
    """The `bilevel` command, speaking with a real server."""
    return Command(address)
