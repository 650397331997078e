"""Loads any data set of examples with feature vectors."""

from pathlib import Path
from typing import assert_never

from core.datasets import built_in, housing, libsvm, magic, mnist, newsgroups, own, plugin_tables, synthetic
from core.datasets.finding import find
from core.datasets.table import Table
from core.spec import datasets as spec
from core.spec.plugins import PluginTable


def load_table(dataset: spec.TableDataset, data_dir: Path) -> Table:
    """Reads a data set from its prepared file, or from scikit-learn where it is built in.

    Raises:
        DataMissing: the prepared file is not in `data_dir`.
        DataInvalid: it does not have the arrays, or not of the right shapes.
    """
    match dataset:
        case spec.Digits() | spec.BreastCancer() | spec.Wine() | spec.Diabetes():
            return built_in.load(dataset)
        case spec.Mnist():
            return mnist.load(find(dataset.kind, data_dir))
        case spec.Newsgroups():
            return newsgroups.load(find(dataset.kind, data_dir), words=dataset.words)
        case spec.A9a():
            return libsvm.load_a9a(find(dataset.kind, data_dir))
        case spec.W8a():
            return libsvm.load_w8a(find(dataset.kind, data_dir))
        case spec.German():
            return libsvm.load_german(find(dataset.kind, data_dir))
        case spec.Housing():
            return housing.load(find(dataset.kind, data_dir))
        case spec.Magic():
            return magic.load(find(dataset.kind, data_dir))
        case spec.SyntheticRegression():
            return synthetic.load(dataset)
        case spec.OwnTable():
            return own.load(dataset, data_dir)
        case PluginTable():
            return plugin_tables.load(dataset, data_dir)
        case _:
            assert_never(dataset)


__all__ = ["Table", "load_table"]
