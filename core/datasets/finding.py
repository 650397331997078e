"""Whether the prepared files of a data set are present, and where; free of torch."""

import zipfile
from pathlib import Path

from core.datasets.catalog import ENTRIES, Entry
from core.datasets.own_files import require_table
from core.errors import DataInvalid, DataMissing
from core.spec.datasets import ClassesOfImages, EpisodeDataset, Omniglot, OwnTable, TableDataset
from core.spec.learned_problems import LearnedOptimizer
from core.spec.problems import Problem
from core.spec.table import Table


def require(spec: Problem | TableDataset | EpisodeDataset, data_dir: Path) -> None:
    """Makes sure that the data of a problem (or a data set's spec) can be read; opens the file, reads no array.

    Raises:
        DataMissing: there is no prepared file; the message says which one and how to make it.
        DataInvalid: there is one, but it is no npz file or lacks arrays.
    """
    dataset = spec if isinstance(spec, Table | ClassesOfImages) else dataset_of(spec)[1]
    if dataset is None:
        return
    if isinstance(dataset, OwnTable):
        require_table(dataset, data_dir)
    entry = ENTRIES[dataset.kind]
    if entry.built_in:
        return
    for path in find_all(entry.kind, data_dir):
        missing = [key for key in entry.keys if key not in arrays_of(path)]
        if missing:
            raise DataInvalid(f"{path} has no array {', '.join(missing)}: {_remedy(entry)}")
    if isinstance(dataset, Omniglot):
        _require_split(dataset, entry, find(entry.kind, data_dir))


def dataset_of(problem: Problem) -> tuple[str, TableDataset | EpisodeDataset | None]:
    """Where a problem names its data set (`dataset`, or `tasks/dataset`), and that one; None: it has none."""
    if isinstance(problem, LearnedOptimizer):
        return "tasks/dataset", getattr(problem.tasks, "dataset", None)
    return "dataset", getattr(problem, "dataset", None)


def _require_split(dataset: Omniglot, entry: Entry, path: Path) -> None:
    if dataset.split == "vinyals" and "vinyals_split" not in arrays_of(path):
        raise DataMissing(
            f"{path} was prepared without the lists of the split `vinyals`: use the split `paper`, or add the "
            f"lists with `bilevel data prepare omniglot --from {_names(entry, len(entry.originals))}`"
        )
    if dataset.split == "alphabets" and not {"alphabet", "background"} <= arrays_of(path):
        raise DataMissing(f"{path} does not say which alphabets its characters are of: {_remedy(entry)}")


def find(kind: str, data_dir: Path) -> Path:
    """The prepared file of a data set that is not built in, or the first where there are two.

    Raises:
        DataMissing: it is not in `data_dir`; the message says how to make it.
    """
    return find_all(kind, data_dir)[0]


def find_all(kind: str, data_dir: Path) -> tuple[Path, ...]:
    """The prepared file, and the one that has to lie beside it where there is one.

    Raises:
        DataMissing: one is not in `data_dir`; the message says how to make it.
    """
    entry = ENTRIES[kind]
    for name in entry.files:
        if (data_dir / name).is_file():
            paths = tuple(data_dir / each for each in (name, entry.rest.get(name)) if each)
            if not paths[-1].is_file():
                raise DataMissing(f"{paths[0]} is there without {paths[-1].name}: add it, or {_remedy(entry)}")
            return paths
    looked_for = " or ".join(str(data_dir / name) for name in entry.files)
    raise DataMissing(f"The data set {kind} is not there (looked for {looked_for}): {_remedy(entry)}")


def arrays_of(path: Path) -> frozenset[str]:
    """Names of the arrays in an npz file, from its table of contents.

    Raises:
        DataInvalid: it is not an npz file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataInvalid(f"{path} is not a readable npz file ({error}): prepare it again") from error


def _names(entry: Entry, count: int) -> str:
    return " ".join(address.rsplit("/", 1)[-1] for address in entry.originals[:count])


def _remedy(entry: Entry) -> str:
    fetching = f"with `bilevel data prepare {entry.kind} --download`, or " if entry.fetched else ""
    return (
        f"make it {fetching}from files you have with "
        f"`bilevel data prepare {entry.kind} --from {_names(entry, entry.required)}`"
    )
