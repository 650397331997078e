"""Commands for sweeps: sweep, and the group sweeps with list, show, members, plot, watch, cancel, retry."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bilevel_client.commands import sweep_csv
from bilevel_client.commands.curves import drawing, picture
from bilevel_client.commands.experiments import FILE
from bilevel_client.commands.numbers import in_order
from bilevel_client.commands.service import DID_NOT_SUCCEED, PATIENT, Service, labelled, waiting, with_service

if TYPE_CHECKING:
    from bilevel_client.client import Client
    from bilevel_client.records import Record


MOST_POINTS = 10_000
"""Points of a series that a picture is drawn from: as many as the service gives at a time."""

GRID = click.option(
    "--grid",
    "grid",
    multiple=True,
    metavar="A.B=V,V",
    help="Values of a field, JSON or text, or `1..9`; can be given several times. The first varies slowest.",
)
SEEDS = click.option(
    "--seeds", metavar="0..4", help="Seeds of every combination: `0..4` or `0,7`.  [default: the spec's]"
)


def _paths(context: click.Context, parameter: click.Parameter, text: str) -> list[str]:
    return [path.strip() for path in text.split(",") if path.strip()]


NUMBERS = click.option(
    "--columns",
    default="",
    callback=_paths,
    metavar="A.B,C.D",
    help="Further numbers of the members' results: report.f1,timing.total_seconds.",
)
CSV = click.option("--csv", "as_csv", is_flag=True, help="Print CSV: plain numbers, every parameter and metric.")


@click.command()
@click.argument("file", type=FILE)
@GRID
@SEEDS
@click.option("--set", "settings", multiple=True, metavar="A.B=VALUE", help="Set a field of all members.")
@click.option("--name", help="Name of the sweep.  [default: that in the file]")
@click.option("--label", "labels", multiple=True, metavar="NAME:VALUE", help="Give the sweep and its members a label.")
@click.option("--wait", is_flag=True, help="Show its progress until every member has ended, then what came of it.")
@click.option("--key", help="Idempotency key: submitted again with the same key, it is the same sweep.")
@with_service
def sweep(
    service: Service,
    file: Path,
    grid: Sequence[str],
    seeds: str | None,
    settings: Sequence[str],
    name: str | None,
    labels: Sequence[str],
    wait: bool,
    key: str | None,
) -> None:
    """Submit the experiment in FILE once for each combination of a grid of values, and for each seed.

    FILE may also hold a whole sweep: `base`, `grid`, `seeds`.

    \b
    bilevel sweep spec.json --grid steps=1,4,16 --seeds 0..4
    bilevel sweep spec.json --grid 'hypergradient=[{"kind":"reverse"},{"kind":"unrolled"}]'
    """
    from bilevel_client import grids, specs

    given = labelled(labels)
    spec = grids.sweep(specs.load(file), settings=settings, grid=grid, seeds=seeds, name=name, labels=given)
    with service.client() as client:
        record = client.sweep(spec, idempotency_key=key)
        if wait:
            if not service.as_json:
                click.echo(f"Submitted {record['name']} as {record['id']}: {record['members']} members.", err=True)
            _follow(service, client, record["id"])
        elif service.as_json:
            service.print_json(record)
        else:
            click.echo(record["id"])


@click.group()
def sweeps() -> None:
    """List sweeps, look at one, cancel and retry it."""


@sweeps.command("list")
@click.option("--label", "labels", multiple=True, metavar="NAME:VALUE", help="Only with all of these labels.")
@click.option("--name", help="Only with this text in the name.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@with_service
def list_sweeps(service: Service, labels: Sequence[str], name: str | None, limit: int) -> None:
    """List sweeps, newest first."""
    from bilevel_client.commands import sweep_tables

    wanted = labelled(labels)
    with service.client() as client:
        records = list(client.sweeps(labels=wanted, name=name, limit=limit))
    service.answer(records, lambda: sweep_tables.sweeps(records) if records else "No sweeps.")


@sweeps.command()
@click.argument("sweep_id", metavar="ID")
@NUMBERS
@CSV
@with_service
def show(service: Service, sweep_id: str, columns: Sequence[str], as_csv: bool) -> None:
    """Show a sweep: how far it is, means over seeds, the best member."""
    _one_format(service, as_csv)
    with service.client() as client:
        record = client.get_sweep(client.find_sweep(sweep_id), columns)
    if as_csv:
        click.echo(sweep_csv.cells(record, columns), nl=False)
    else:
        _show(service, record, columns)


@sweeps.command()
@click.argument("sweep_id", metavar="ID")
@NUMBERS
@CSV
@with_service
def members(service: Service, sweep_id: str, columns: Sequence[str], as_csv: bool) -> None:
    """List the members of a sweep, the newest trial of each."""
    from bilevel_client.commands import sweep_tables

    _one_format(service, as_csv)
    with service.client() as client:
        record = client.get_sweep(client.find_sweep(sweep_id))
        found = client.sweep_members(record["id"], columns)
    if as_csv:
        click.echo(sweep_csv.members(found, columns), nl=False)
    else:
        service.answer(list(found), lambda: sweep_tables.members(record, found, columns))


@sweeps.command()
@click.argument("sweep_id", metavar="ID")
@click.option("--series", default="outer_objective", show_default=True, help="The series to draw.")
@click.option(
    "--out",
    "file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    callback=picture,
    help="Draw it into this file (png, svg, pdf).",
)
@with_service
def plot(service: Service, sweep_id: str, series: str, file: Path) -> None:
    """Draw a series of the members that have succeeded: a line a cell, mean and range over its seeds."""
    with service.client() as client:
        record = client.get_sweep(client.find_sweep(sweep_id))
        found = client.sweep_members(record["id"])
        succeeded = {each["member"]: each["experiment_id"] for each in found if each["status"] == "succeeded"}
        if not succeeded:
            raise click.UsageError("No member has succeeded so far: there is nothing to draw.")
        every = {member: client.curves(each, series, max_points=MOST_POINTS) for member, each in succeeded.items()}
        curves = {member: each.series[series] for member, each in every.items() if series in each.series}
        if not curves:
            there = client.curves(next(iter(succeeded.values())), max_points=4).series
            raise click.UsageError(f"No member has the series {series}: there are {', '.join(in_order(there))}")
    with drawing(file):
        from bilevel_client.commands import sweep_plot

        sweep_plot.draw(file, record, series, curves)
    click.echo(json.dumps({"file": str(file)}) if service.as_json else f"Drawn into {file}.")


@sweeps.command()
@click.argument("sweep_id", metavar="ID")
@with_service
def watch(service: Service, sweep_id: str) -> None:
    """Show the progress of a sweep until every member has ended, then what came of it."""
    with service.client() as client:
        _follow(service, client, client.find_sweep(sweep_id))


@sweeps.command()
@click.argument("sweep_id", metavar="ID")
@with_service
def cancel(service: Service, sweep_id: str) -> None:
    """Cancel every member that has not ended; one that runs writes a checkpoint and stops."""
    with service.client() as client:
        record = client.cancel_sweep(client.find_sweep(sweep_id))
    if service.as_json:
        service.print_json(record)
        return
    from bilevel_client.commands import sweep_tables

    click.echo(f"{record['id']}: {sweep_tables.states(record)}.")


@sweeps.command()
@click.argument("sweep_id", metavar="ID")
@with_service
def retry(service: Service, sweep_id: str) -> None:
    """Submit every member again that has failed or was cancelled."""
    with service.client() as client:
        answer = client.retry_sweep(client.find_sweep(sweep_id))
    if service.as_json:
        service.print_json(answer)
        return
    count = answer["retried"]
    click.echo(f"{answer['sweep']['id']}: {count} {'member' if count == 1 else 'members'} submitted again.")


def _follow(service: Service, client: "Client", sweep_id: str) -> None:
    """Shows progress until the sweep has ended, then the sweep; exit status 1 if a member did not succeed."""
    from bilevel_client.commands.following_sweep import follow_sweep

    client.patience = PATIENT
    with waiting(f"`bilevel sweeps watch {sweep_id}` shows it again, `bilevel sweeps cancel` ends it."):
        record = follow_sweep(client, sweep_id, quiet=service.as_json)
    _show(service, record)
    if record["counts"].get("succeeded", 0) < record["members"]:
        raise SystemExit(DID_NOT_SUCCEED)


def _one_format(service: Service, as_csv: bool) -> None:
    if service.as_json and as_csv:
        raise click.UsageError("--csv and --json exclude each other: give one")


def _show(service: Service, record: "Record", columns: Sequence[str] = ()) -> None:
    from bilevel_client.commands import sweep_tables

    service.answer(record, lambda: sweep_tables.sweep(record, columns))
