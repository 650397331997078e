"""Transfer from an ordinary classifier to few-shot episodes: a problem without inner variables while it is trained."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Spec
from core.spec.datasets import EpisodeDataset, Omniglot
from core.spec.models import Conv4, Representation


class MulticlassTransfer(Spec):
    """Few-shot learning by transfer (section 5.3 of the paper): a classifier of all meta-training classes at once.

    Outer: mean cross-entropy of its scores on a minibatch of meta-training images. There are no inner variables while
    it is trained, so that every hypergradient is the plain gradient; `exact` makes no inner steps. In evaluations its
    scores (before the softmax, minus their mean, which that does not see) are the features of episodes, on which
    softmax heads are fitted by T inner steps.
    """

    kind: Literal["multiclass_transfer"] = "multiclass_transfer"
    dataset: EpisodeDataset = Field(default_factory=Omniglot)
    """Where images and episodes come from."""
    model: Representation = Field(default_factory=Conv4, discriminator="kind")
    """The classifier's layers below the last, which is affine with one score a meta-training class."""
    batch: Annotated[int, Field(ge=2, le=100_000)] = 128
    """Images of a hyperiteration, drawn with replacement by (seed, hyperiteration)."""
    way: Annotated[int, Field(ge=2, le=100)] = 5
    """Classes of an episode."""
    shot: Annotated[int, Field(ge=1, le=100)] = 1
    """Support examples of each class."""
    query: Annotated[int, Field(ge=1, le=100)] = 15
    """Query examples of each class, disjoint from the support examples."""
    normalization: Literal["batch", "running"] = "batch"
    """Statistics of the norms when meta-validation chooses the checkpoint: `batch`, of each support or query set
    itself (transductive); `running`, of meta-training images. Both are reported."""
