"""Commands for what experiments made, and for what can be asked for: artifact, catalog."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from bilevel_client.commands.service import Service, with_service


@click.command()
@click.argument("experiment", metavar="ID")
@click.argument("name", required=False)
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: NAME]")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@with_service
def artifact(service: Service, experiment: str, name: str | None, to: Path | None, force: bool) -> None:
    """Fetch the artifact NAME of an experiment; without NAME, list them."""
    with service.client() as client:
        experiment_id = client.find(experiment)
        if name is not None:
            target = to or Path(Path(name).name)
            if target.is_file() and not force:
                raise click.UsageError(f"{target} is there already: name another file by --to, or give --force.")
            try:
                size = len(client.artifact(experiment_id, name, to=target))
            except OSError as error:
                raise click.UsageError(f"Cannot write {target}: {error.strerror}.") from None
            if service.as_json:
                service.print_json({"file": str(target), "size": size})
            else:
                click.echo(f"{target}: {size} bytes")
            return
        found = client.artifacts(experiment_id)
    if service.as_json:
        service.print_json(list(found))
        return
    for each in found:
        click.echo(f"{each['name']}  {each['size']} bytes  {each['sha256'][:12]}")
    if not found:
        click.echo("No artifacts.")


@click.command()
@click.argument("kind", required=False)
@with_service
def catalog(service: Service, kind: str | None) -> None:
    """List every kind that a spec can name; with KIND, its fields, or with --json too its example and schema.

    Parts of a spec that have no kind go by their names: `experiment`, `evaluation`, `resources`, `diagnostics`.
    """
    from bilevel_client.commands import kind_table, tables

    with service.client() as client:
        found = client.catalog()
    sections = {"parts of an experiment": _parts(found), **found["kinds"]}
    known = [{"section": section, **entry} for section, members in sections.items() for entry in members]
    if kind is not None:
        entries = [entry for entry in known if entry["kind"] == kind]
        if not entries:
            near = get_close_matches(kind, {entry["kind"] for entry in known}, n=3)
            like = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise click.UsageError(f"There is no kind `{kind}`{like}; `bilevel catalog` lists them.")
        service.answer(entries[0] if len(entries) == 1 else entries, lambda: kind_table.kinds(entries))
    else:
        service.answer(found, lambda: tables.catalog(sections))


def _parts(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The experiment's own fields and its objects without a kind, as entries whose kind is their path."""
    return [{**entry, "kind": path} for path, entry in {"experiment": found["experiment"], **found["parts"]}.items()]
