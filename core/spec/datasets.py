"""Data sets by kind, with the facts that validation needs: sizes, classes, features."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field

from core.spec.base import Spec
from core.spec.plugins import PluginTable, extended
from core.spec.table import Table

TABLE_NAME = "^[a-z0-9][a-z0-9_-]{0,63}$"
"""Names of tables of one's own: they are names of files, too."""


class Digits(Table):
    """scikit-learn's 8x8 handwritten digits; nothing to fetch."""

    examples, features, classes = 1797, 64, 10
    kind: Literal["digits"] = "digits"


class BreastCancer(Table):
    """scikit-learn's breast cancer data (Wisconsin, diagnostic); nothing to fetch."""

    examples, features, classes = 569, 30, 2
    kind: Literal["breast_cancer"] = "breast_cancer"


class Wine(Table):
    """scikit-learn's wine recognition data; nothing to fetch."""

    examples, features, classes = 178, 13, 3
    kind: Literal["wine"] = "wine"


class Diabetes(Table):
    """scikit-learn's diabetes progression data, a regression; nothing to fetch."""

    examples, features = 442, 10
    kind: Literal["diabetes"] = "diabetes"


class Mnist(Table):
    """MNIST, 28x28 grey digits, pixels scaled to [0, 1]; 10 000 test images of its own."""

    examples, test_examples, features, classes = 60_000, 10_000, 784, 10
    kind: Literal["mnist"] = "mnist"


class Newsgroups(Table):
    """20 newsgroups by date, tf-idf of the most frequent words; 7532 test documents of its own."""

    examples, test_examples, classes = 11_314, 7_532, 20
    kind: Literal["20news"] = "20news"
    words: Annotated[int, Field(ge=10, le=130_107)] = 2000
    """How many of the words that most training documents hold are kept as features."""

    @property
    def features(self) -> int:  # type: ignore[override]
        """The kept words."""
        return self.words


class A9a(Table):
    """a9a (adult income), binary features; 16 281 test examples of its own."""

    examples, test_examples, features, classes = 32_561, 16_281, 123, 2
    kind: Literal["a9a"] = "a9a"


class W8a(Table):
    """w8a (web pages), binary features."""

    examples, features, classes = 49_749, 300, 2
    kind: Literal["w8a"] = "w8a"


class German(Table):
    """German credit (numeric version), features in [-1, 1]."""

    examples, features, classes = 1000, 24, 2
    kind: Literal["german"] = "german"


class Housing(Table):
    """California housing, a regression: the eight numeric columns and the one-hot distance to the ocean."""

    examples, features = 20_640, 13
    kind: Literal["housing"] = "housing"


class Magic(Table):
    """MAGIC gamma telescope, gamma against hadron."""

    examples, features, classes = 19_020, 10, 2
    kind: Literal["magic"] = "magic"


class SyntheticRegression(Table):
    """A small linear regression with irrelevant features, drawn by a seed of its own (appendix C of the paper).

    y = x'w + noise e, e normal, with x of independent normal entries and normal w on the relevant features, 0 on the
    others.
    """

    kind: Literal["synthetic_regression"] = "synthetic_regression"
    points: Annotated[int, Field(ge=4, le=100_000)] = 90
    """Examples; the data set has no test set of its own."""
    relevant: Annotated[int, Field(ge=1, le=1000)] = 5
    """Features that the target depends on; they come first."""
    irrelevant: Annotated[int, Field(ge=0, le=1000)] = 25
    """Features that it does not depend on."""
    noise: Annotated[float, Field(ge=0, le=1e3)] = 1.0
    """Deviation of the noise; each relevant feature adds about 1 to the target's variance."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    """The data are a function of it; the experiment's seed splits them."""

    @property
    def examples(self) -> int:  # type: ignore[override]
        """All points."""
        return self.points

    @property
    def features(self) -> int:  # type: ignore[override]
        """Relevant and irrelevant."""
        return self.relevant + self.irrelevant


class OwnTable(Table):
    """A table of your own: `bilevel data add NAME FILE.csv` makes it ready and prints what to write here."""

    kind: Literal["table"] = "table"
    name: Annotated[str, Field(pattern=TABLE_NAME)] = "mine"
    """What it was added as."""
    rows: Annotated[int, Field(ge=3, le=100_000_000)] = 100
    """Examples, those of its own validation and test sets not counted."""
    columns: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Features."""
    labels: Annotated[int, Field(ge=0, le=10_000)] = 2
    """Classes; 0: the target is a number."""
    test_rows: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Examples of its own test set; 0: it has none, and the test set is what training and validation leave."""
    validation_rows: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Examples of its own validation set, such as those whose labels are trusted; 0: it has none, and validation
    examples are drawn from the same as training examples."""

    @property
    def examples(self) -> int:  # type: ignore[override]
        """All rows."""
        return self.rows

    @property
    def test_examples(self) -> int:  # type: ignore[override]
        """Of its own test set."""
        return self.test_rows

    @property
    def validation_examples(self) -> int:  # type: ignore[override]
        """Of its own validation set."""
        return self.validation_rows

    @property
    def features(self) -> int:  # type: ignore[override]
        """The columns but for the target's."""
        return self.columns

    @property
    def classes(self) -> int:  # type: ignore[override]
        """The labels."""
        return self.labels


class ClassesOfImages(Spec):
    """A data set of many classes with few images each, from which episodes are sampled."""

    channels: ClassVar[int]
    side: ClassVar[int]
    """Pixels of a side of an image."""
    images_per_class: ClassVar[int]
    kind: str

    def class_counts(self) -> tuple[int, int, int]:
        """Classes for meta-training, meta-validation and meta-test."""
        raise NotImplementedError

    def held_out(self) -> Self:
        """What decides which classes meta-training does not see: the same without what only adds to those it sees."""
        return self

    def pools(self) -> tuple[int, int]:
        """Fewest and most classes that those of a task are drawn from: of the smallest and largest meta-set."""
        counts = self.class_counts()
        return min(counts), max(counts)


class Omniglot(ClassesOfImages):
    """Omniglot: 1623 handwritten characters of 20 images, 28x28; classes are split before they are rotated."""

    channels, side, images_per_class = 1, 28, 20
    characters: ClassVar[int] = 1623
    kind: Literal["omniglot"] = "omniglot"
    split: Literal["paper", "vinyals", "alphabets"] = "paper"
    """`paper`: all characters shuffled by the experiment's seed, 1200 / 100 / 323 for meta-training,
    meta-validation and meta-test; `vinyals`: the lists of Vinyals et al. 2016, 1028 / 172 / 423; `alphabets`: every
    task is within one alphabet, the 30 background alphabets (964 characters) for meta-training, the 20 evaluation
    alphabets (659 characters) shuffled by the seed, ten for meta-validation and ten for meta-test."""
    rotations: bool = True
    """Whether the rotations by 90, 180 and 270 degrees are classes of their own (4 times as many classes); with the
    split `alphabets` whole alphabets are rotated, and a task is within one alphabet and rotation, or reflection."""
    reflections: bool = False
    """Whether the mirror images of the classes of meta-training are classes of their own (twice as many, rotations
    counted); meta-validation and meta-test stay as they are."""

    def class_counts(self) -> tuple[int, int, int]:
        """Classes of the meta-sets; with `alphabets` the last two depend on the seed: these are the means."""
        counts = {"paper": (1200, 100, 323), "vinyals": (1028, 172, 423), "alphabets": (964, 330, 329)}
        train, validation, test = counts[self.split]
        factor = 4 if self.rotations else 1
        return train * factor * (2 if self.reflections else 1), validation * factor, test * factor

    def held_out(self) -> Self:
        """Whatever is reflected in meta-training."""
        return self.model_copy(update={"reflections": False})

    def test_classes(self) -> int:
        """Classes for meta-test at least, whatever the seed: with `alphabets` those of the ten smallest ones."""
        if self.split != "alphabets":
            return self.class_counts()[2]
        return 250 * (4 if self.rotations else 1)

    def pools(self) -> tuple[int, int]:
        """Of the alphabets, which have 14 to 55 characters, or of the meta-sets."""
        counts = self.class_counts()
        return (14, 55) if self.split == "alphabets" else (min(counts), max(counts))


class MiniImagenet(ClassesOfImages):
    """miniImageNet: 100 classes of ImageNet, 600 colour images each, 84x84; 64 / 16 / 20 classes for meta-training,
    meta-validation and meta-test (Ravi and Larochelle 2017)."""

    channels, side, images_per_class = 3, 84, 600
    kind: Literal["mini_imagenet"] = "mini_imagenet"
    reflections: bool = False
    """Whether images of meta-training are mirrored, each with probability 1/2 whenever it is drawn; meta-validation and
    meta-test stay as they are."""
    smallest_crop: Annotated[float, Field(ge=0.05, le=1)] = 1.0
    """Images of meta-training are rectangles of themselves scaled to their size, drawn anew whenever an image is drawn:
    of an area uniform in [smallest_crop, 1] of the image's and sides 3:4 to 4:3, a side that is longer than the image's
    cut to it; 1: the whole image. A network that would know its classes by heart sees new images. With `tasks`, whose
    episodes are drawn once, the images of a task never change."""
    colours: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Brightness, contrast and saturation of images of meta-training are multiplied by factors that are uniform in
    [1 - colours, 1 + colours], drawn whenever an image is; 0: they stay as they are."""

    def held_out(self) -> Self:
        """Whatever is done to images of meta-training."""
        return self.model_copy(update={"reflections": False, "smallest_crop": 1.0, "colours": 0.0})

    def class_counts(self) -> tuple[int, int, int]:
        """Whatever the seed."""
        return 64, 16, 20


def _omniglot_by_default(dataset: Any) -> Any:
    return {"kind": "omniglot", **dataset} if isinstance(dataset, dict) else dataset


EpisodeDataset = Annotated[Omniglot | MiniImagenet, Field(discriminator="kind"), BeforeValidator(_omniglot_by_default)]
"""Data sets that episodes are sampled from; a spec that does not say which means `omniglot`."""

_TableDataset = (
    Digits
    | BreastCancer
    | Wine
    | Diabetes
    | Mnist
    | Newsgroups
    | A9a
    | W8a
    | German
    | Housing
    | Magic
    | SyntheticRegression
    | OwnTable
)
if TYPE_CHECKING:
    TableDataset = _TableDataset | PluginTable
else:
    TableDataset = Annotated[extended(_TableDataset, PluginTable, Omniglot, MiniImagenet), Field(discriminator="kind")]
