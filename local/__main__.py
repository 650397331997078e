"""`python -m local up` and `python -m local data`: what `bilevel up` and `bilevel data` run."""

import contextlib
from pathlib import Path

import click

from core.errors import SettingsInvalid
from core.settings import settings
from local.home import Refused


class LazyGroup(click.Group):
    """Loads `data`, and with it numpy, only when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The commands' names."""
        return ["data", *super().list_commands(context)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        if name == "data":
            from local.data import data

            return data
        return super().get_command(context, name)


@click.group(cls=LazyGroup)
def main() -> None:
    """Everything on this machine: the service, and data sets."""


@main.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("~/.bilevel"),
    show_default=True,
    help="Folder of everything that is kept between runs.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0: any free one.")
@click.option("--slots", type=click.IntRange(1, 1024), help="Experiments to run at a time.  [default: one a device]")
def up(home: Path, host: str, port: int, slots: int | None) -> None:
    """Start Bilevel here: Postgres, Redis, API and worker under one supervisor.

    DATABASE_URL and BROKER_URL replace the embedded Postgres and Redis. Ctrl-C stops everything; data stay in --home.
    """
    from local.up import up as run

    try:
        found = settings()
        if slots is not None:
            found = found.model_copy(update={"slots": slots})
        run(found, home=home, host=host, port=port, say=_say)
    except (Refused, SettingsInvalid) as refusal:
        raise click.ClickException(str(refusal)) from None
    except OSError as error:
        said = str(error.strerror or error).lower()
        raise click.ClickException(f"{error.filename or home}: {said}; mend that, or give another --home") from error


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone: the services must run on, or be stopped, all the same
        click.echo(line)


if __name__ == "__main__":
    main(prog_name="bilevel")
