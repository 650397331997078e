"""The command for what an experiment or a sweep would cost: plan."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from bilevel_client.commands.experiments import FILE, SET
from bilevel_client.commands.service import Service, with_service
from bilevel_client.commands.sweeps import GRID, SEEDS


@click.command()
@click.argument("file", type=FILE)
@SET
@GRID
@SEEDS
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Whose rates to take.  [default: as in the spec]")
@click.option(
    "--rates",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="JSON file of measured rates, as `python -m benchmarks rates` prints it.",
)
@with_service
def plan(
    service: Service,
    file: Path,
    settings: Sequence[str],
    grid: Sequence[str],
    seeds: str | None,
    device: str | None,
    rates: Path | None,
) -> None:
    """Say what the experiment in FILE would take, memory and time, and what would fit; nothing is run.

    Of a sweep, which FILE holds or --grid and --seeds make of an experiment, every combination and all together.
    """
    from bilevel_client import grids, specs
    from bilevel_client.commands import plan_table

    spec = specs.load(file)
    swept = "base" in spec or bool(grid) or seeds is not None
    spec = grids.sweep(spec, settings=settings, grid=grid, seeds=seeds) if swept else specs.assign(spec, settings)
    given = _rates(rates) | ({"device": device} if device else {})
    with service.client() as client:
        found = client.plan_sweep(spec, **given) if swept else client.plan(spec, **given)
    table = plan_table.plan_of_sweep if swept else plan_table.plan
    service.answer(found, lambda: table(str(spec.get("name", "untitled")), found))


def _rates(file: Path | None) -> dict[str, str | float]:
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise click.UsageError(f'{file}: rates are an object such as {{"bytes_per_second": 8e9}}')
    return {name: value for name, value in found.items() if name != "name" and value is not None}
