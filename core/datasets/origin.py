"""Where the examples of an experiment come from: a digest of the data, and the rows that were drawn from them."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from core.datasets.catalog import ENTRIES
from core.datasets.finding import dataset_of, find_all
from core.datasets.prepared import content_digest
from core.datasets.splits import Rows, Split, draw_rows, take_rows
from core.datasets.table import Table
from core.datasets.tables import load_table
from core.spec.datasets import ClassesOfImages, EpisodeDataset, OwnTable, TableDataset
from core.spec.problems import Problem
from core.spec.table import Table as TableSpec


class Origin(NamedTuple):
    """Which data an experiment sees."""

    kind: str
    name: str | None
    """Of a table of one's own."""
    sha256: str
    """Of the prepared file (or two, one behind the other) or, where there is none that `bilevel data prepare` made, of
    the arrays as they were loaded (`prepared.content_digest`)."""
    rows: Rows | None = None
    """Of a table, those of the three sets."""

    def plain(self) -> dict[str, str]:
        """As in a result."""
        named = {"name": self.name} if self.name else {}
        return {"kind": self.kind, **named, "sha256": self.sha256}


def load_split(
    dataset: TableDataset, data_dir: Path, *, train: int, validation: int, test: int, seed: int
) -> tuple[Split, Origin]:
    """Loads a table, splits it by seed (`split_table`), and says which rows of which data these are.

    Raises:
        DataMissing, DataInvalid: as `load_table`.
        ValueError: the table has fewer examples than asked for.
    """
    table = load_table(dataset, data_dir)
    rows = draw_rows(table, train=train, validation=validation, test=test, seed=seed)
    return take_rows(table, rows), _origin(dataset, data_dir, table)._replace(rows=rows)


def origin_of(problem: Problem, data_dir: Path) -> Origin | None:
    """Of a problem that draws from its data in ways of its own; None: it has none.

    Raises:
        DataMissing, DataInvalid: as `load_table`.
    """
    dataset = dataset_of(problem)[1]
    if not isinstance(dataset, TableSpec | ClassesOfImages):
        return None
    return _origin(dataset, data_dir)


def _origin(dataset: TableDataset | EpisodeDataset, data_dir: Path, table: Table | None = None) -> Origin:
    name = dataset.name if isinstance(dataset, OwnTable) else None
    if ENTRIES[dataset.kind].built_in:
        assert not isinstance(dataset, ClassesOfImages)  # which are prepared
        return Origin(dataset.kind, name, _digest(table or load_table(dataset, data_dir)))
    return Origin(dataset.kind, name, _digest_of_files(find_all(dataset.kind, data_dir)))


def _digest(table: Table) -> str:
    arrays = {name: part.numpy() for name, part in table._asdict().items() if part is not None}
    return content_digest(arrays, arrays)


def _digest_of_files(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
