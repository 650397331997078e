"""A problem in the terms that methods are reckoned in."""

from dataclasses import dataclass, replace

from core.planning.preconditioner import Preconditioner
from core.planning.work import NOTHING, Work
from core.spec import Experiment


class NotModelled(Exception):
    """The plan has no model of this part of the spec; the message says of which and why."""


@dataclass(frozen=True)
class Costs:
    """A problem in the terms that methods are reckoned in; memory in bytes."""

    item: int
    """Bytes of a number."""
    variables: int
    """Numbers in w."""
    leaves: int
    """Tensors in w."""
    seen: int
    """Numbers that the method differentiates with respect to: lam, or z where there is an embedding."""
    outer: int
    """Numbers in lam."""
    gradient: Work
    """grad_w L once."""
    graph: float
    """What the graph of one gradient keeps."""
    objective: Work
    """E with its derivatives, once a hyperiteration."""
    data: float
    """Data set on the device."""
    loading: float
    """Peak while it is loaded and split."""
    watching: float = 0.0
    """What a gradient of L on all examples takes, as the series of a hyperiteration have it."""
    embedding: Work = NOTHING
    """The network, forward and backward, once a hyperiteration."""
    features: float = 0.0
    """What the network's passes take, episodes included."""
    looking: float = 0.0
    """What a pass of the network without a graph takes, episodes included."""
    judging: float = 0.0
    """What E alone takes without a graph, where that is much."""
    solution: Work = NOTHING
    """The closed form with its derivative."""
    solution_memory: float = 0.0
    scoring: Work = NOTHING
    """An evaluation but for the inner steps that it runs."""
    scoring_memory: float = 0.0
    statistics_memory: float = 0.0
    """Of an evaluation: what the images take whose statistics stand for those of all."""
    walks: float = 1.0
    """How many times an evaluation runs the inner steps."""
    fitting: Work | None = None
    """A step of all heads of an evaluation, where it is no inner step."""
    closing_steps: int = 0
    """Inner steps of the report at the end."""
    closing: Work = NOTHING
    """What else the report at the end takes."""
    overhead: float = 1.0
    """How much more derivatives of the gradient add to its operators than where it is a derivative itself."""
    by_tape: float = 1.0
    """How many more operators the gradient has where it comes with its value, from torch's tape."""
    analytic: bool = False
    """Whether inner steps are those of a linear model, written out, rather than found by a derivative."""
    classes: int = 1
    """Scores of a linear model."""
    preconditioner: Preconditioner | None = None
    """Of a linear model; None for other models."""
    repeats: int = 1
    """How many times a hyperiteration does all this: chunks of tasks."""
    blocks: tuple[int, int] = (1, 1)
    """Minibatches that the inner and the outer examples are cut into, where an algorithm draws from both."""

    @property
    def differentiated(self) -> Work:
        """The gradient, with as many operators as its derivatives are reckoned by."""
        return replace(self.gradient, operators=self.overhead * self.gradient.operators)


def item_size(spec: Experiment) -> int:
    """Bytes of a number."""
    return 8 if spec.resources.precision == "float64" else 4
