"""What every command that speaks with the service has in common: its options, its errors, its exit status."""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bilevel_client.errors import ServerFault, ServiceError, Unreachable
from bilevel_client.specs import BadSpec

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bilevel_client.client import Client

DID_NOT_SUCCEED, NOT_POSSIBLE, NO_SERVICE, INTERRUPTED = 1, 2, 3, 130
"""Exit statuses; the last is a shell's own for Ctrl-C."""
QUICK = 2.0
"""Seconds for which a command tries to reach the service; those that wait try for `PATIENT` once they have begun."""
PATIENT = 120.0


@dataclass(frozen=True)
class Service:
    """Where the service is, and how to print what it says."""

    url: str
    api_key: str | None
    as_json: bool

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """A client of the service; its errors end the command."""
        from bilevel_client.client import Client

        try:
            with Client(self.url, self.api_key, patience=QUICK) as client:
                yield client
        except ServiceError as error:
            self.end(error)

    def end(self, error: ServiceError) -> NoReturn:
        """Says what went wrong and ends the command."""
        if self.as_json and error.problem:
            click.echo(json.dumps(error.problem, indent=2), err=True)
        else:
            click.secho("Error: ", fg="red", bold=True, err=True, nl=False)
            lines = [f"{each.get('pointer') or each.get('parameter')}: {each['detail']}" for each in error.errors]
            click.echo("\n       ".join(lines) if len(lines) > 1 else error.detail, err=True)
        raise SystemExit(NO_SERVICE if isinstance(error, Unreachable | ServerFault) else NOT_POSSIBLE)

    def answer(self, value: Any, shown: Callable[[], "RenderableType"]) -> None:
        """Prints a value as JSON, or what is shown of it to a person."""
        if self.as_json:
            self.print_json(value)
            return
        from bilevel_client.commands import tables

        tables.show(shown())

    def print_json(self, value: Any) -> None:
        """Prints a value as JSON."""
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def waiting(then: str) -> Iterator[None]:
    """While something runs on the service: Ctrl-C or a lost service ends the command, not that; it says how to go on.

    Args:
        then: what to do, a sentence.
    """
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted here; what was submitted goes on. {then}", err=True)
        raise SystemExit(INTERRUPTED) from None
    except Unreachable as error:
        raise Unreachable(f"{error.detail} {then}") from error


def with_service(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --url, --api-key and --json; gives the command a Service as its first argument; a bad spec is bad usage."""

    @functools.wraps(command)
    def wrapped(url: str, api_key: str | None, as_json: bool, **options: Any) -> None:
        try:
            command(Service(url, api_key, as_json), **options)
        except BadSpec as error:
            raise click.UsageError(str(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise SystemExit(INTERRUPTED) from None

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--api-key", envvar="BILEVEL_API_KEY", help="Key of the service.  [env: BILEVEL_API_KEY]"),
        click.option(
            "--url",
            envvar="BILEVEL_URL",
            default="http://127.0.0.1:8000",
            show_default=True,
            help="Address of the service.  [env: BILEVEL_URL]",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def labelled(given: Sequence[str]) -> dict[str, str]:
    """Labels given as NAME:VALUE."""
    if unfit := [label for label in given if not all(label.partition(":"))]:
        raise click.UsageError(f"`{unfit[0]}`: a label is given as NAME:VALUE")
    return {label: value for label, _, value in (each.partition(":") for each in given)}
