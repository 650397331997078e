"""Where tables of one's own lie, and whether one is there with the sizes that a spec gives; free of numpy and torch."""

import json
from pathlib import Path

from core.errors import DataInvalid, DataMissing
from core.spec.datasets import OwnTable


def arrays_path(name: str, data_dir: Path) -> Path:
    """The file of a table's arrays; what a spec says of it lies beside it."""
    return data_dir / "tables" / f"{name}.npz"


def facts_path(name: str, data_dir: Path) -> Path:
    """The file with the `dataset` of a spec, as JSON; written last, so that a table with it is whole."""
    return data_dir / "tables" / f"{name}.json"


def added(data_dir: Path) -> list[str]:
    """Names of the tables that were added, in their order."""
    return sorted(path.stem for path in (data_dir / "tables").glob("*.json"))


def facts(name: str, data_dir: Path) -> OwnTable:
    """What a spec says of a table that was added.

    Raises:
        DataInvalid: what is kept of it is damaged.
    """
    path = facts_path(name, data_dir)
    try:
        return OwnTable.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataInvalid(f"{path} cannot be read ({error}): add the table again with `bilevel data add`") from error


def require_table(dataset: OwnTable, data_dir: Path) -> None:
    """Makes sure that the table is there, with these sizes; its arrays are not read.

    Raises:
        DataMissing: it is not.
        DataInvalid: it has other sizes.
    """
    path = facts_path(dataset.name, data_dir)
    if not path.is_file():
        there = ", ".join(f"`{name}`" for name in added(data_dir)) or "none so far"
        raise DataMissing(
            f"There is no table `{dataset.name}` (looked for {path}): add it with "
            f"`bilevel data add {dataset.name} FILE.csv`; there are: {there}"
        )
    check_sizes(dataset, facts(dataset.name, data_dir))


def check_sizes(given: OwnTable, found: OwnTable) -> None:
    """Raises DataInvalid, with what to write, unless both have the same sizes."""
    if given != found:
        raise DataInvalid(f"The table `{given.name}` is another than the spec says: write {found.model_dump_json()}")
