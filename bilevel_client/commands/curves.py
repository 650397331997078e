"""The command for curves: a table, JSON, CSV, or a picture."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bilevel_client.commands.numbers import in_order
from bilevel_client.commands.service import Service, with_service

if TYPE_CHECKING:
    from bilevel_client.client import Client

PLOTTED = 2000
"""Points a series in a picture, where as many are there."""

ENDINGS = (".png", ".svg", ".pdf")


def picture(context: click.Context, parameter: click.Parameter, file: Path | None) -> Path | None:
    """Refuses files of other formats before anything is read."""
    if file is not None and file.suffix.lower() not in ENDINGS:
        raise click.BadParameter(f"{file} does not end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")
    return file


@click.command()
@click.argument("experiments", metavar="ID...", nargs=-1, required=True)
@click.option("--series", multiple=True, help="Only series of this name; * stands for any text.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=picture,
    help="Draw them into this file (png, svg, pdf).",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print every point as CSV: experiment,series,step,value,attempt.")
@with_service
def curves(
    service: Service, experiments: Sequence[str], series: Sequence[str], plot: Path | None, as_csv: bool
) -> None:
    """Show the curves of experiments; several are drawn into one picture to compare them."""
    if as_csv and (service.as_json or plot):
        raise click.UsageError(f"--csv and {'--json' if service.as_json else '--plot'} exclude each other: give one")
    with service.client() as client:
        ids = dict.fromkeys(client.find(experiment) for experiment in experiments)
        records = [client.get(each) for each in ids]
        points = 4 if as_csv else PLOTTED if plot or service.as_json else 500
        found = [client.curves(record["id"], series, max_points=points) for record in records]
        for record, each in zip(records, found, strict=True):
            if series and not each.series and (others := client.curves(record["id"], max_points=4).series):
                raise click.UsageError(
                    f"{record['id'][:8]} has no series {' or '.join(series)}: there are {', '.join(in_order(others))}"
                )
        if as_csv:
            _print_csv(client, [record["id"] for record in records], series)
            return
    if plot is not None:
        _draw(plot, list(zip(records, found, strict=True)))
        click.echo(json.dumps({"file": str(plot)}) if service.as_json else f"Drawn into {plot}.")
    elif service.as_json:
        answers = [_plain(each) for each in found]
        service.print_json(
            answers[0] if len(answers) == 1 else dict(zip((r["id"] for r in records), answers, strict=True))
        )
    else:
        from bilevel_client.commands import tables

        for record, each in zip(records, found, strict=True):
            tables.show(tables.curves(record, each) if each.series else f"{record['id'][:8]} has no points so far.")


def _print_csv(client: "Client", experiments: Sequence[str], series: Sequence[str]) -> None:
    """Lines as they arrive, one heading for all experiments."""
    click.echo("experiment,series,step,value,attempt")
    for experiment in experiments:
        for line in islice(client.curves_csv(experiment, series), 1, None):
            click.echo(f"{experiment},{line}")


def _draw(plot: Path, drawn: list[tuple[dict[str, Any], Any]]) -> None:
    if not any(found.series for _, found in drawn):
        raise click.UsageError("There are no points to draw so far.")
    with drawing(plot):
        from bilevel_client.commands.plotting import draw

        draw(plot, drawn)


@contextmanager
def drawing(file: Path) -> Iterator[None]:
    """Says what is missing where a picture cannot be drawn into the file."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise click.UsageError("Pictures need matplotlib: pip install 'bilevel[plot]'") from error
    except OSError as error:
        raise click.UsageError(f"{file} cannot be written: {error}") from error


def _plain(found: Any) -> dict[str, Any]:
    """As the service answers: non-finite values as strings."""
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return {
        "series": {
            name: {
                "step": (series := found.series[name]).step,
                "value": [names.get(str(value), value) for value in series.value],
            }
            | ({"attempt": series.attempt} if series.attempt else {})
            for name in in_order(found.series)
        },
        "next": found.next,
    }
