"""Commands that do not speak with a service but run on this machine: they hand over to the installed service."""

import importlib.util
import os
import sys

import click

PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


def _hand_over(*arguments: str) -> None:
    """Becomes `python -m local`; -P keeps folders of the current directory from being taken for the package."""
    if importlib.util.find_spec("local") is None:
        raise click.ClickException("The service is not installed here: pip install 'bilevel[local]'")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "local", *arguments])


@click.command(context_settings=PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def up(arguments: tuple[str, ...]) -> None:
    """Start the service on this machine; `bilevel up --help` says more."""
    _hand_over("up", *arguments)


@click.command(context_settings=PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def data(arguments: tuple[str, ...]) -> None:
    """List and prepare data sets; `bilevel data --help` says more."""
    _hand_over("data", *arguments)
