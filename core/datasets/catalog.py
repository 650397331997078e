"""Which data sets there are and where they come from; free of torch."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from core.spec.base import kind_of
from core.spec.catalog import KINDS
from core.spec.plugins import PluginTable


class Entry(NamedTuple):
    """What is known of a data set before it is read."""

    kind: str
    """The `kind` in a spec, and the NAME of `bilevel data prepare`."""
    description: str
    source: str
    """Who made it and where the original distribution is."""
    licence: str
    files: tuple[str, ...] = ()
    """Names under which the prepared file is looked for; `prepare` writes the first. Empty: built in."""
    keys: tuple[str, ...] = ()
    """Arrays that the prepared file has to hold."""
    rest: Mapping[str, str] = MappingProxyType({})
    """A name in `files` -> the file that has to lie beside it, with the same arrays of the other classes."""
    originals: tuple[str, ...] = ()
    """Addresses of the files of the original distribution, in the order in which `prepare --from` takes them; names
    where there is nothing to fetch."""
    required: int = 0
    """How many of the original files have to be given; those after them are optional."""
    content: str = ""
    """Digest of the arrays `keys` of the complete data set (`prepared.content_digest`)."""
    identity: tuple[str, ...] = ()
    """Arrays that `content` is of where the others depend on who made the files."""

    @property
    def fetched(self) -> bool:
        """Whether `prepare --download` can fetch the original files."""
        return bool(self.originals) and all("://" in address for address in self.originals)

    @property
    def built_in(self) -> bool:
        """Whether it comes with scikit-learn, so that there is nothing to prepare."""
        return not self.files


_LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary"
_OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
_VINYALS = "https://raw.githubusercontent.com/jakesnell/prototypical-networks/master/data/omniglot/splits/vinyals"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"


def _csr(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}_{part}" for name in names for part in ("indices", "indptr", "shape", "y"))


_ALL = (
    Entry(
        "digits",
        "1797 handwritten digits of 8x8 pixels, 10 classes",
        "scikit-learn (E. Alpaydin, C. Kaynak, 1998, UCI)",
        "CC BY 4.0",
    ),
    Entry(
        "breast_cancer",
        "569 tumours, 30 features, 2 classes",
        "scikit-learn (Wolberg, Mangasarian, Street, 1995, UCI)",
        "CC BY 4.0",
    ),
    Entry("wine", "178 wines, 13 features, 3 classes", "scikit-learn (Aeberhard, Forina, 1991, UCI)", "CC BY 4.0"),
    Entry(
        "diabetes",
        "442 patients, 10 features, progression after a year (a number)",
        "scikit-learn (Efron, Hastie, Johnstone, Tibshirani, 2004)",
        "not stated",
    ),
    Entry(
        "mnist",
        "60 000 + 10 000 handwritten digits of 28x28 pixels, 10 classes",
        "LeCun, Cortes, Burges: the four idx.gz files (training images, training labels, test images, test labels)",
        "CC BY-SA 3.0",
        files=("mnist.npz",),
        keys=("x_train", "y_train", "x_test", "y_test"),
        originals=tuple(
            f"{_MNIST}/{name}-ubyte.gz"
            for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        ),
        required=4,
        content="e5ea4841dd6fde90b155843179ce5756a4864227194eec7fb09d7cfc4cf702a5",
    ),
    Entry(
        "20news",
        "11 314 + 7532 newsgroup postings split by date, tf-idf of words, 20 classes",
        "Lang 1995; J. Rennie: 20news-bydate.tar.gz",
        "not stated",
        files=("20news-counts.npz",),
        keys=(
            *(f"{part}_{array}" for part in ("train", "test") for array in ("data", "indices", "indptr", "shape")),
            "y_train",
            "y_test",
        ),
        originals=("http://qwone.com/~jason/20Newsgroups/20news-bydate.tar.gz",),
        required=1,
        content="fe9cffa4c9e0709d9ebdd871372e2533dc6b2359e8d027f1bff3d1fbdb6a7e46",
    ),
    Entry(
        "a9a",
        "32 561 + 16 281 people, 123 binary features, income above 50 000 dollars or not",
        "Becker, Kohavi 1996 (UCI Adult); Platt 1998; LIBSVM: a9a and its test set a9a.t",
        "CC BY 4.0",
        files=("a9a.npz", "libsvm-a9a-w8a-german.npz"),
        keys=_csr("a9a", "a9a_t"),
        originals=(f"{_LIBSVM}/a9a", f"{_LIBSVM}/a9a.t"),
        required=2,
        content="02e4965c8a9f7e7dd38a940b724e52c20b1200377f2bba5d2b36f7c167870bf6",
    ),
    Entry(
        "w8a",
        "49 749 web pages, 300 binary features, 2 classes",
        "Platt 1998; LIBSVM: w8a",
        "not stated",
        files=("w8a.npz", "libsvm-a9a-w8a-german.npz"),
        keys=_csr("w8a"),
        originals=(f"{_LIBSVM}/w8a",),
        required=1,
        content="377bce132826a5153215630ecae058bd59cfc76512c661807f7b69560c48f71d",
    ),
    Entry(
        "german",
        "1000 credits, 24 features in [-1, 1], 2 classes",
        "Hofmann 1994 (UCI Statlog); LIBSVM: german.numer_scale",
        "CC BY 4.0",
        files=("german.npz", "libsvm-a9a-w8a-german.npz"),
        keys=("german_X", "german_y"),
        originals=(f"{_LIBSVM}/german.numer_scale",),
        required=1,
        content="4c22e7edefa1721fa7da4e358eb1c4ca6d775d0fb67ff31e996c04679c9c6e60",
    ),
    Entry(
        "housing",
        "20 640 districts of California 1990, 8 numeric features and the distance to the ocean, median house value",
        "Pace, Barry 1997 (StatLib); A. Geron: housing.csv",
        "public domain",
        files=("housing.npz", "tabular-housing-magic04.npz"),
        keys=("housing_X", "housing_y", "housing_ocean", "housing_ocean_names"),
        originals=("https://raw.githubusercontent.com/ageron/handson-ml2/master/datasets/housing/housing.csv",),
        required=1,
        content="642d20dac90285dfd3ca6218cad434ef5eff5daf5349827d290951c86b1bfd2b",
    ),
    Entry(
        "magic",
        "19 020 showers in a Cherenkov telescope, 10 features, gamma or hadron",
        "Bock 2004 (UCI MAGIC gamma telescope): magic04.data",
        "CC BY 4.0",
        files=("magic.npz", "tabular-housing-magic04.npz"),
        keys=("magic_X", "magic_y"),
        originals=("https://archive.ics.uci.edu/ml/machine-learning-databases/magic/magic04.data",),
        required=1,
        content="5869d166bc5cc19b2c43e0a00b93f0939659321fd4749d15ce7f34500e2ff788",
    ),
    Entry(
        "synthetic_regression",
        "90 points (or as many as asked for), 5 relevant and 25 irrelevant features, a number with noise",
        "drawn by this package (as in appendix C of Franceschi et al. 2018)",
        "MIT",
    ),
    Entry("table", "a table of your own, by the name that `bilevel data add` was given", "yours", "yours"),
    Entry(
        "omniglot",
        "1623 handwritten characters of 50 alphabets, 20 images each, 28x28",
        "Lake, Salakhutdinov, Tenenbaum 2015: images_background.zip and images_evaluation.zip; for the split "
        "`vinyals` also the lists train.txt, val.txt and test.txt of jakesnell/prototypical-networks",
        "MIT",
        files=("omniglot-28.npz",),
        keys=("images", "names"),
        originals=(
            f"{_OMNIGLOT}/images_background.zip",
            f"{_OMNIGLOT}/images_evaluation.zip",
            *(f"{_VINYALS}/{name}.txt" for name in ("train", "val", "test")),
        ),
        required=2,
        content="42748c2d514ef6cf8a7c7ae3d74ae2c86a9e5415fd435e6b6acda296bc34fb05",
    ),
    Entry(
        "mini_imagenet",
        "100 classes of ImageNet, 600 colour images each, 84x84, split 64 / 16 / 20",
        "Deng et al. 2009, Vinyals et al. 2016; the lists train.csv, val.csv and test.csv of Ravi and Larochelle 2017 "
        "(twitter/meta-learning-lstm) with a folder or zip of the images that they name",
        "ImageNet: non-commercial research and education only; not to be passed on",
        files=("mini-imagenet-84.npz", "miniimagenet-84-webp75-train.npz"),
        rest=MappingProxyType({"miniimagenet-84-webp75-train.npz": "miniimagenet-84-webp75-valtest.npz"}),
        keys=("data", "offsets", "labels", "class_wnids", "class_split"),
        originals=("train.csv", "val.csv", "test.csv", "images.zip"),
        required=4,
        content="6152d71ade41e6d729e9621d08f25e88aebb3e5b3e02279bb876f15b66d39f10",
        identity=("labels", "class_wnids", "class_split", "image_names_utf8"),
    ),
)
_PLUGINS = (
    Entry(kind_of(member), inspect.getdoc(member) or "", member.source, member.licence)
    for member in KINDS["dataset"]
    if issubclass(member, PluginTable)
)
ENTRIES: Mapping[str, Entry] = MappingProxyType({entry.kind: entry for entry in (*_ALL, *_PLUGINS)})
"""Every data set by kind."""
