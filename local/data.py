"""`bilevel data`: which data sets there are, and prepared files from what their makers distribute."""

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import httpx

from core.datasets.catalog import ENTRIES, Entry
from core.datasets.finding import require
from core.datasets.own_files import added, facts
from core.errors import BilevelError, DataInvalid, DataMissing
from core.settings import Settings
from core.spec.catalog import KINDS, kind_of
from core.spec.datasets import TABLE_NAME

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True)
_TO_PREPARE = click.Choice([entry.kind for entry in ENTRIES.values() if not entry.built_in])


@click.group()
def data() -> None:
    """Data sets: which there are, and how to get them."""


@data.command("list")
@click.option("--in", "folder", type=_FOLDER, help="Folder of prepared files.  [default: BILEVEL_DATA_DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_data(folder: Path | None, as_json: bool) -> None:
    """List the data sets, and whether each can be used."""
    folder = folder or Settings().data_dir
    own = [_own(name, folder) for name in added(folder)]
    rows = [*(_row(entry, folder) for entry in ENTRIES.values() if entry.kind != "table"), *own]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(f"Prepared files in {folder}:\n")
    for row in rows:
        click.echo(f"{row['name']:<14} {row['state']:<9} {row['description']}")
    if any(row["state"] == "missing" for row in rows):
        click.echo("\nTo get one that is missing: bilevel data prepare NAME --download (or --from FILES...)")
    click.echo("\nTo add a table of your own: bilevel data add NAME FILE.csv")


def _row(entry: Entry, folder: Path) -> dict[str, str | list[str] | None]:
    problem: str | None = None
    try:
        require(next(member for member in KINDS["dataset"] if kind_of(member) == entry.kind)(), folder)  # type: ignore[arg-type]
        state = "built in" if entry.built_in else "ready"
    except DataMissing as error:
        state, problem = "missing", str(error)
    except DataInvalid as error:
        state, problem = "damaged", str(error)
    return {
        "name": entry.kind,
        "state": state,
        "description": entry.description,
        "source": entry.source,
        "licence": entry.licence,
        "files": list(entry.files),
        "originals": list(entry.originals),
        "problem": problem,
    }


def _own(name: str, folder: Path) -> dict[str, str | list[str] | None]:
    row: dict[str, str | list[str] | None] = {"name": name, "source": "yours", "licence": "yours"}
    row |= {"files": [], "originals": [], "problem": None}
    try:
        dataset = facts(name, folder)
    except DataInvalid as error:
        return row | {"state": "damaged", "description": "a table of your own: add it again", "problem": str(error)}
    target = f"{dataset.labels} classes" if dataset.labels else "a number"
    sets = (("validation", dataset.validation_rows), ("test", dataset.test_rows))
    own = "".join(f", {count} for {part}" for part, count in sets if count)
    description = f"{dataset.rows} examples{own}, {dataset.columns} features, {target}"
    return row | {"state": "yours", "description": description, "dataset": dataset.model_dump_json()}


@data.command("add")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--target", metavar="COLUMN", help="Column of the target in a CSV file.  [default: the last]")
@click.option("--regression", is_flag=True, help="The target is a number; without it its values are classes.")
@click.option(
    "--test",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A file of the same form: its own test set.",
)
@click.option(
    "--validation",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A file of the same form: its own validation set, such as examples whose labels are trusted.",
)
@click.option("--to", "folder", type=_FOLDER, help="Folder of data sets.  [default: BILEVEL_DATA_DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print the `dataset` of a spec alone.")
def add_data(
    name: str,
    file: Path,
    target: str | None,
    regression: bool,
    test: Path | None,
    validation: Path | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Make a table of your own ready, as NAME: FILE is a CSV file with a header, or an npz file with arrays X and y.

    Features are numbers; an empty cell (NaN) is a missing value, which becomes the mean over the training set. Added
    again, a table is replaced: experiments that were given its sizes are refused if it has others.
    """
    from core.datasets.own import add  # imports torch, which `list` need not wait for

    if not re.fullmatch(TABLE_NAME, name):
        raise click.UsageError(f"`{name}`: a name is up to 64 small letters, digits, - and _")
    try:
        more = {"test": test, "validation": validation}
        made = add(name, file, folder or Settings().data_dir, target=target, regression=regression, **more)
    except (BilevelError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(made.dataset.model_dump_json())
        return
    if made.classes:
        shown = ", ".join(f"{number} = {word}" for number, word in enumerate(made.classes[:20]))
        click.echo(f"Classes: {shown}{', ...' if len(made.classes) > 20 else ''}")
    click.echo(f'In a spec: "dataset": {json.dumps(made.dataset.model_dump(mode="json"))}')


@data.command("prepare")
@click.argument("name", type=_TO_PREPARE)
@click.argument("more", nargs=-1, type=_FILE, metavar="[FILES]...")
@click.option("--from", "files", multiple=True, type=_FILE, metavar="FILES...", help="Original files, in their order.")
@click.option("--download", is_flag=True, help="Fetch the original files from where they are published.")
@click.option("--to", "folder", type=_FOLDER, help="Folder of prepared files.  [default: BILEVEL_DATA_DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prepare_data(
    name: str, more: tuple[Path, ...], files: tuple[Path, ...], download: bool, folder: Path | None, as_json: bool
) -> None:
    """Make the prepared file of data set NAME from its original distribution.

    \b
    mnist          the four idx.gz files: training images, labels, test images, labels
    20news         20news-bydate.tar.gz
    a9a            a9a a9a.t
    w8a            w8a
    german         german.numer_scale
    housing        housing.csv
    magic          magic04.data
    omniglot       images_background.zip images_evaluation.zip [train.txt val.txt test.txt]
                   (the three lists are needed for the split `vinyals` only)
    mini_imagenet  train.csv val.csv test.csv images.zip
                   (or the folder with the images; not downloaded: ImageNet's licence)
    """
    from core.datasets.preparing import prepare  # imports torch, which `list` need not wait for

    if download == bool(files or more):
        raise click.UsageError("Give either --from FILES... or --download.")
    if download and not ENTRIES[name].fetched:
        raise click.UsageError(f"{name} cannot be fetched ({ENTRIES[name].licence}): give its files with --from.")
    try:
        with tempfile.TemporaryDirectory() as fetched:
            originals = fetch(ENTRIES[name].originals, Path(fetched)) if download else [*files, *more]
            made = prepare(name, originals, folder or Settings().data_dir)
    except (BilevelError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"path": str(made.path), "sha256": made.sha256, "published": made.published}))
        return
    click.echo(f"{made.path}\nsha256 {made.sha256}")
    click.echo(
        "The content is that of the published data set."
        if made.published
        else "Complete, but not the content of the published data set to the bit (another version or file order?)."
    )


def fetch(addresses: Sequence[str], folder: Path) -> list[Path]:
    """Downloads files into a folder.

    Raises:
        ClickException: one cannot be reached; the message says how to go on without a network.
    """
    paths = []
    for address in addresses:
        path = folder / address.rsplit("/", 1)[-1]
        click.echo(f"Fetching {address}", err=True)
        try:
            with httpx.stream("GET", address, follow_redirects=True, timeout=30) as response, path.open("wb") as file:
                response.raise_for_status()
                for block in response.iter_bytes():
                    file.write(block)
        except httpx.HTTPError as error:
            raise click.ClickException(
                f"{address} cannot be fetched ({error}): fetch it on a machine that can reach it, "
                "and give the file with --from"
            ) from error
        paths.append(path)
    return paths
