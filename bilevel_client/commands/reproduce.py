"""The command that reproduces the paper's experiments: reproduce."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bilevel_client.commands.service import DID_NOT_SUCCEED, Service, waiting, with_service

if TYPE_CHECKING:
    from bilevel_client.reproduction.study import Results, Stage

NAMES = (
    "effect-of-t",
    "omniglot",
    "mini-imagenet",
    "variants",
    "variants-omniglot",
    "hyper-cleaning",
    "hyperparameters",
    "learners",
    "learned-optimizer",
    "overfitting",
)
"""Known here, so that `--help` loads no plotting."""


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=click.Choice([*NAMES, "all"]))
@click.option("--quick", is_flag=True, help="Minutes instead of hours: fewer hyperiterations; shows that it works.")
@click.option("--set", "settings", multiple=True, metavar="A.B=VALUE", help="Set a field of all experiments.")
@click.option("--seeds", metavar="0..4", help="Seeds of all stages: `0..4` or `0,7`.  [default: the study's]")
@click.option("--all-stages", is_flag=True, help="Also the stages that take many hours or a GPU.")
@click.option(
    "--stage",
    "only",
    metavar="STAGE",
    multiple=True,
    help="This stage of the study, those that it follows, and what was begun in the folder; may be repeated.",
)
@click.option("--stages", "listed", is_flag=True, help="List the names of the stages, and run nothing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reproduction"),
    show_default=True,
    help="Folder; each study has one of its own in it. Begun again with it, a study goes on where it was.",
)
@with_service
def reproduce(
    service: Service,
    names: Sequence[str],
    quick: bool,
    settings: Sequence[str],
    seeds: str | None,
    all_stages: bool,
    only: Sequence[str],
    listed: bool,
    out: Path,
) -> None:
    """Run the paper's experiments on the service and write a report of each, beside the paper's own figures.

    \b
    NAME: effect-of-t, omniglot, mini-imagenet, variants, variants-omniglot, hyper-cleaning, hyperparameters,
    learners, learned-optimizer, overfitting, all
    """
    from bilevel_client.errors import Invalid
    from bilevel_client.grids import integers
    from bilevel_client.reproduction.running import Reproduction
    from bilevel_client.reproduction.studies import STUDIES
    from bilevel_client.reproduction.study import Changes

    if only and (len(names) > 1 or "all" in names):
        raise click.UsageError("--stage is of one study: name that one alone")
    if only and all_stages:
        raise click.UsageError("--stage chooses some stages, --all-stages all of them: give one of both")
    complete, asked = True, {name: STUDIES[name] for name in (NAMES if "all" in names else names)}
    if listed:
        _list(service, {name: study.stages for name, study in asked.items()})
        return
    changes = Changes(quick, settings, None if seeds is None else integers(seeds))
    chosen = {name: study.chosen(only, all_stages=all_stages) for name, study in asked.items()}
    for name, study in asked.items():  # whatever cannot be is said before anything is run
        for stage in study.stages:
            if stage.name in chosen[name]:
                changes.of(stage)
    made = []
    with service.client() as client, waiting("The same command takes it up again."):
        for name, study in asked.items():
            folder = out / (f"{name}-quick" if quick else name)
            try:
                reproduction = Reproduction(client, study, folder, changes, quiet=service.as_json)
                results = reproduction.run(chosen[name], each=reproduction.report)
            except Invalid as error:  # refused, as where data are missing; the other studies may be possible
                click.echo(f"{name}: {error.detail}", err=True)
                complete = False
                continue
            complete &= all(member.result for found in results.values() for member in found.members)
            made.append({"study": name, "report": str(folder / "report.md"), "stages": _counts(results)})
            if not service.as_json:
                click.echo(folder / "report.md")
    if service.as_json:
        service.print_json(made)
    if not complete:
        raise SystemExit(DID_NOT_SUCCEED)


def _counts(results: "Results") -> dict[str, dict[str, int]]:
    """Of every stage how many experiments there are, and how many have succeeded."""
    return {
        name: {"experiments": len(found.members), "succeeded": len(found.succeeded)} for name, found in results.items()
    }


def _list(service: Service, stages: Mapping[str, Sequence["Stage"]]) -> None:
    """Names as `--stage` takes them, with what they follow."""
    if service.as_json:
        service.print_json({name: [stage.name for stage in each] for name, each in stages.items()})
        return
    for name, each in stages.items():
        click.secho(name, bold=True)
        for stage in each:
            follows = [f"follows {shlex.quote(earlier)}" for earlier in dict.fromkeys(stage.follows.values())]
            about = "; ".join([*follows, *(["only by --all-stages or --stage"] if stage.optional else [])])
            click.echo(f"  {shlex.quote(stage.name)}{f'   ({about})' if about else ''}")
