"""What few-shot problems fit on the features of each task: the kinds of heads, with their inner problems."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Spec


class SoftmaxHeads(Spec):
    """Linear softmax heads from w_0 = 0; inner: sum over tasks of the mean cross-entropy, + l2/2 ||w||^2."""

    kind: Literal["softmax"] = "softmax"


class RidgeHeads(Spec):
    """Ridge regression onto one-hot targets, with a closed form (R2D2, Bertinetto et al. 2019).

    Inner: sum over tasks of 1/2 mean ||W'x - y||^2 + strength/2 ||W||^2, x with a 1 appended. Scores: scale W'x +
    offset. The logarithm of the strength, the scale and the offset are outer variables too; the offset is R2D2's, and
    a softmax does not see it.
    """

    kind: Literal["ridge"] = "ridge"
    strength: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Strength at hyperiteration 0. R2D2's stands beside a sum over the support examples: it is this times their
    number."""
    scale: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """Scale of the scores at hyperiteration 0; targets of 0 and 1 alone make flat softmaxes."""


class PrototypeHeads(Spec):
    """Prototypes (Snell et al. 2017): mean support features of each class; a score is minus a squared distance.

    Inner: sum over tasks of 1/2 mean ||x - prototype of its class||^2, which the class means minimize. (The source
    states no inner problem: this is the one that makes it a bilevel problem with a closed form.)
    """

    kind: Literal["prototypes"] = "prototypes"


Heads = Annotated[SoftmaxHeads | RidgeHeads | PrototypeHeads, Field(discriminator="kind")]
