"""What the methods share: running the inner dynamics, and looking at where they started and ended."""

from collections.abc import Mapping

from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import gradient, gradient_and_value
from core.bilevel.problem import Dynamics, Problem, State, Tree


def check(problem: Problem, steps: int) -> None:
    """Refuses what no method can run."""
    if problem.embed is not None:
        raise ValueError("the problem has an embedding: wrap the method in through_embedding, or state it by composed")
    check_steps(steps)


def check_steps(steps: int) -> None:
    """Refuses a negative number of steps."""
    if steps < 0:
        raise ValueError(f"steps is {steps}: the number of inner steps cannot be negative")


def run(dynamics: Dynamics, lam: Tree, steps: int) -> tuple[State, State]:
    """s_0 and s_T; nothing between them is kept."""
    start = state = dynamics.init(lam)
    for t in range(1, steps + 1):
        state = dynamics.step(t, state, lam)
    return start, state


STOP_EVERY = 10
"""Inner steps between two looks at the inner gradient, which costs as much as a step."""


def run_until(problem: Problem, dynamics: Dynamics, lam: Tree, steps: int, stop: float) -> tuple[State, State, int]:
    """s_0, s_t and t, where t <= steps is the first multiple of STOP_EVERY with ||grad_w L|| <= `stop`, or `steps`."""
    inner_gradient = gradient(problem.inner)
    start = state = dynamics.init(lam)
    for t in range(steps):
        if t % STOP_EVERY == 0 and trees.norm(inner_gradient(state.w, lam)) <= stop:
            return start, state, t
        state = dynamics.step(t + 1, state, lam)
    return start, state, steps


def diagnose(problem: Problem, lam: Tree, start: Tree, end: Tree) -> Mapping[str, Tensor]:
    """The inner objective at w_0 and w_T, and how stationary w_T is."""
    slope, value = gradient_and_value(problem.inner)(end, lam)
    return {
        "inner_objective_start": problem.inner(start, lam),
        "inner_objective_end": value,
        "inner_gradient_norm": trees.norm(slope),
    }
