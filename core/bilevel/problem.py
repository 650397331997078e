"""What a bilevel problem is: min_lam E(w(lam), lam) with w(lam) the result of the inner optimization of L(., lam)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    from core.bilevel.linear_models.model import LinearModel

Tree: TypeAlias = "Tensor | dict[str, Tree] | list[Tree] | tuple[Tree, ...]"
"""A tensor, or a dict, list or (named) tuple of trees; what `core.bilevel.trees` takes apart."""

Objective = Callable[[Tree, Tree], Tensor]
"""(w, lam) -> scalar tensor."""


class Tasks(NamedTuple):
    """The tasks of a meta-batch, with inner variables of their own: L is a sum and E a mean over them."""

    data: "Tree"
    """What the tasks are made of; every leaf is [tasks, ...]."""
    state: "Callable[[Tree], tuple[Problem, Dynamics]]"
    """(data of some of the tasks) -> the problem of these; its states have a leading axis for them, too."""
    chunk: int | None = None
    """How many tasks are taken at a time; None: all."""


@dataclass(frozen=True)
class Problem:
    """A bilevel problem, stated as functions.

    If `embed` is given, both objectives, `init`, `solution` and the dynamics see the outer variables only through
    z = embed(lam): they take z where they would take lam. The network that makes features then runs
    forward once and backward once, whatever the method and the number of inner steps.
    """

    inner: Objective
    """L(w, lam)."""
    outer: Objective
    """E(w, lam); what it takes from lam directly counts (the direct term)."""
    init: Callable[[Tree], Tree]
    """lam -> w_0; may depend on lam (learned initialization)."""
    solution: Callable[[Tree], Tree] | None = None
    """lam -> argmin_w L(w, lam), where there is a closed form."""
    embed: Callable[[Tree], Tree] | None = None
    """lam -> z; see above."""
    linear: "LinearModel | None" = None
    """What the inner objective is where it is that of a linear model: for methods with analytic steps."""
    minibatch: Callable[[int, Tree, Tree], Tensor] | None = None
    """(t, w, lam) -> L on the t-th minibatch, where the inner objective has minibatches: for stochastic solvers."""
    tasks: Tasks | None = None
    """The same problem by its tasks, where it is a meta-batch."""


class State(NamedTuple):
    """State of the inner dynamics, s = (w, velocity, ...)."""

    w: Tree
    aux: Tree = ()


class Dynamics(NamedTuple):
    """Inner dynamics Phi as a pair of pure functions."""

    init: Callable[[Tree], State]
    """Phi_0: lam -> s_0."""
    step: Callable[[int, State, Tree], State]
    """Phi_t: (t, s_{t-1}, lam) -> s_t for t = 1..T; a minibatch or schedule depends on t only."""


class Hypergradient(NamedTuple):
    """What a method returns."""

    grad: Tree
    """d/dlam E(w_T(lam), lam), a tree like lam."""
    outer_loss: Tensor
    """E(w_T, lam), a scalar."""
    state: State
    """s_T."""
    diagnostics: Mapping[str, Tensor]
    """Scalars worth recording: inner objective at 0 and T, ||grad_w L|| at w_T, solver residual, ..."""
    carry: Tree = ()
    """What the next hyperiteration may start from: a tree of tensors whose structure never changes."""


class Method(Protocol):
    """A way to compute the hypergradient; knobs are keyword-only and bound by functools.partial."""

    def __call__(self, problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
        """Runs `steps` inner steps from s_0 and returns the hypergradient at lam."""
        ...


class MethodSeries(NamedTuple):
    """A method that may differ from one hyperiteration to the next: warm starts, tolerance schedules."""

    init: Callable[[Problem, Dynamics, Tree], Tree]
    """(problem and dynamics of hyperiteration 0, lam) -> the carry that hyperiteration 0 starts from."""
    at: Callable[[int, Tree], Method]
    """(k, carry) -> the method of hyperiteration k; the carry of its result is handed to hyperiteration k + 1."""


def steady(method: Method) -> MethodSeries:
    """The same method at every hyperiteration, with nothing to carry."""
    return MethodSeries(lambda problem, dynamics, lam: (), lambda k, carry: method)


class AlgorithmState(NamedTuple):
    """State of an algorithm between hyperiterations: all that a checkpoint has to hold."""

    lam: Tree
    aux: Any = ()
    """A tree whose shape the algorithm alone knows."""


def beside(state: AlgorithmState) -> tuple[AlgorithmState, Tree]:
    """The inverse of AlgorithmState(lam, (aux, more)): the algorithm's own state, and what is carried along with it."""
    aux, more = state.aux
    return AlgorithmState(state.lam, aux), more


class Algorithm(NamedTuple):
    """What the loop calls once a hyperiteration."""

    init: Callable[[Tree], AlgorithmState]
    """lam -> state at hyperiteration 0."""
    step: Callable[[int, AlgorithmState], tuple[AlgorithmState, Mapping[str, Tensor]]]
    """(k, state) -> (next state, series values at lam_k), for k = 0, 1, ..."""
    inner: Callable[[AlgorithmState], Tree] | None = None
    """state -> the inner variables that belong to state.lam, where the algorithm keeps them from one hyperiteration to
    the next; None where they are found anew by T steps."""
    outer: Callable[[AlgorithmState], Tree] | None = None
    """state -> the outer variables that evaluations, results and artifacts take; None: state.lam."""
