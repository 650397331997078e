"""Commands for experiments: submit, resubmit, list, show, watch, cancel, result, compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bilevel_client.commands.service import DID_NOT_SUCCEED, PATIENT, Service, labelled, waiting, with_service

if TYPE_CHECKING:
    from bilevel_client.client import Client
    from bilevel_client.records import Record

STATUSES = ["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
FILE = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)


SET = click.option(
    "--set", "settings", multiple=True, metavar="A.B=VALUE", help="Set a field; can be given several times."
)
WAIT = click.option("--wait", is_flag=True, help="Show its progress until it has ended, then its result.")


@click.command()
@click.argument("file", type=FILE)
@SET
@WAIT
@click.option("--key", help="Idempotency key: submitted again with the same key, it is the same experiment.")
@with_service
def submit(service: Service, file: Path, settings: Sequence[str], wait: bool, key: str | None) -> None:
    """Submit the experiment in FILE, JSON or YAML."""
    from bilevel_client import specs

    spec = specs.experiment(file, settings)
    with service.client() as client:
        _submitted(service, client, client.submit(spec, idempotency_key=key), wait)


@click.command()
@click.argument("experiment", metavar="ID")
@SET
@WAIT
@with_service
def resubmit(service: Service, experiment: str, settings: Sequence[str], wait: bool) -> None:
    """Submit the spec of an experiment again, whatever its state, as a new experiment; --set changes fields.

    An object of another kind is set as a whole, for every field of the old one is written out:

    \b
    bilevel resubmit 58fe3f8b --set 'algorithm.hypergradient={"kind":"unrolled"}'
    """
    from bilevel_client import specs

    with service.client() as client:
        spec = specs.assign(client.get(client.find(experiment))["spec"], settings)
        _submitted(service, client, client.submit(spec), wait)


@click.command("list")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Only in one of these states.")
@click.option("--kind", multiple=True, help="Only with one of these kinds of problem.")
@click.option("--label", "labels", multiple=True, metavar="NAME:VALUE", help="Only with all of these labels.")
@click.option("--name", help="Only with this text in the name.")
@click.option("--without-members", is_flag=True, help="Without members of sweeps.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@with_service
def list_experiments(
    service: Service,
    status: Sequence[str],
    kind: Sequence[str],
    labels: Sequence[str],
    name: str | None,
    without_members: bool,
    limit: int,
) -> None:
    """List experiments, newest first."""
    from bilevel_client.commands import tables

    wanted = labelled(labels)
    with service.client() as client:
        in_sweep = False if without_members else None
        found = client.list(status=status, kind=kind, labels=wanted, name=name, in_sweep=in_sweep, limit=limit)
        records = list(found)
    service.answer(records, lambda: tables.experiments(records) if records else "No experiments.")


@click.command()
@click.argument("experiment", metavar="ID")
@with_service
def show(service: Service, experiment: str) -> None:
    """Show an experiment: where it stands and what was asked for."""
    from bilevel_client.commands import tables

    with service.client() as client:
        record = client.get(client.find(experiment))
    service.answer(record, lambda: tables.experiment(record))


@click.command()
@click.argument("experiments", metavar="ID...", nargs=-1, required=True)
@with_service
def watch(service: Service, experiments: Sequence[str]) -> None:
    """Show the progress of experiments until they have ended, then their results."""
    with service.client() as client:
        _follow(service, client, list(dict.fromkeys(client.find(experiment) for experiment in experiments)))


@click.command()
@click.argument("experiments", metavar="ID...", nargs=-1, required=True)
@with_service
def cancel(service: Service, experiments: Sequence[str]) -> None:
    """Cancel experiments; one that runs writes a checkpoint and stops."""
    with service.client() as client:
        records = [client.cancel(client.find(experiment)) for experiment in experiments]
    if service.as_json:
        service.print_json(records[0] if len(records) == 1 else records)
        return
    for record in records:
        click.echo(f"{record['id']} is {record['status']}.")


@click.command()
@click.argument("experiment", metavar="ID")
@with_service
def result(service: Service, experiment: str) -> None:
    """Show the result of an experiment; its exit status is 1 if the experiment failed or was cancelled."""
    from bilevel_client.commands import tables
    from bilevel_client.errors import Conflict

    with service.client() as client:
        record = client.get(client.find(experiment))
        try:
            found = client.result(record["id"])
        except Conflict as refusal:
            if refusal.code != "no_result":
                raise
            click.echo(refusal.detail, err=True)
            raise SystemExit(DID_NOT_SUCCEED) from None
    service.answer(found, lambda: tables.result(record, found))


@click.command()
@click.argument("experiments", metavar="ID...", nargs=-1, required=True)
@with_service
def compare(service: Service, experiments: Sequence[str]) -> None:
    """Show experiments side by side: where their specs differ, what each reached, time and memory.

    Those of a sweep are compared by `bilevel sweeps show`, over their seeds.
    """
    from bilevel_client.commands import comparing

    with service.client() as client:
        ids = dict.fromkeys(client.find(experiment) for experiment in experiments)
        if len(ids) < 2:
            raise click.UsageError("Give two experiments or more.")
        records = [client.get(each) for each in ids]
        results = [client.result(each["id"]) if each["status"] == "succeeded" else None for each in records]
    found = [{**record, "result": reached} for record, reached in zip(records, results, strict=True)]
    differing = comparing.differences([record["spec"] for record in records])
    told = {"differences": differing, "experiments": found}
    service.answer(told, lambda: comparing.comparison(records, results))


def _submitted(service: Service, client: "Client", record: "Record", wait: bool) -> None:
    """Says what was submitted, or shows its progress and its result."""
    if wait:
        if not service.as_json:
            click.echo(f"Submitted {record['name']} as {record['id']}.", err=True)
        _follow(service, client, [record["id"]])
    elif service.as_json:
        service.print_json(record)
    else:
        click.echo(record["id"])


def _follow(service: Service, client: "Client", experiments: list[str]) -> None:
    """Shows progress until all have ended, then the results; exit status 1 if one did not succeed."""
    from bilevel_client.commands import tables
    from bilevel_client.commands.following import follow

    client.patience = PATIENT
    with waiting(f"`bilevel watch {' '.join(experiments)}` shows it again, `bilevel cancel` ends it."):
        records = follow(client, experiments, quiet=service.as_json)
    results: dict[str, Any] = {
        record["id"]: client.result(record["id"]) for record in records if record["status"] == "succeeded"
    }
    if service.as_json:
        answers = [{**record, "result": results.get(record["id"])} for record in records]
        service.print_json(answers[0] if len(answers) == 1 else answers)
    else:
        for record in records:
            succeeded = record["id"] in results
            tables.show(tables.result(record, results[record["id"]]) if succeeded else tables.ending(record))
    if len(results) < len(records):
        raise SystemExit(DID_NOT_SUCCEED)
