"""Implicit differentiation from hyperiteration to hyperiteration: warm starts and falling tolerances (HOAG).

Pedregosa 2016: the inner problem and the linear system of hyperiteration k are solved to a tolerance eps_k whose sum
is finite, each from the solution of hyperiteration k - 1.
"""

from collections.abc import Callable
from typing import Any, Protocol

from core.bilevel import trees
from core.bilevel.embedding import through_embedding
from core.bilevel.hypergradients.implicit import Condition
from core.bilevel.linear_solve import Start
from core.bilevel.problem import Dynamics, Hypergradient, Method, MethodSeries, Problem, Tree

Tolerances = Callable[[int], float]
"""k -> eps_k."""


def exponential(initial: float, decay: float) -> Tolerances:
    """eps_k = initial decay^k."""
    return lambda k: initial * decay**k


def polynomial(initial: float, power: float) -> Tolerances:
    """eps_k = initial / (k + 1)^power."""
    return lambda k: initial / (k + 1) ** power


class WarmMethod(Protocol):
    """`implicit_at` with all but its start bound: carries "x" and "w"."""

    def __call__(
        self, problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int, start: Start = None
    ) -> Hypergradient:
        """The linear solver starts from `start`."""
        ...


def implicit_series(
    at: Callable[[int], WarmMethod], condition: Condition, *, system: bool = False, inner: bool = False
) -> MethodSeries:
    """`at(k)` at hyperiteration k; what is warm started is carried.

    With `system` the linear solver starts from the last solution, with `inner` the dynamics start from the last w_T
    (the rest of their state, such as a velocity, from where they start it), from hyperiteration 1 on. Both are only
    right where every hyperiteration has the same inner variables.
    """
    wanted = [name for name, warm in (("x", system), ("w", inner)) if warm]

    def init(problem: Problem, dynamics: Dynamics, lam: Tree) -> Tree:
        if not wanted:
            return ()
        z = lam if problem.embed is None else problem.embed(lam)
        state = dynamics.init(z)
        zeros = trees.zeros_like(condition(problem, dynamics, state, z, 1).at)
        carry: dict[str, Tree] = {"x": zeros, "w": state.w}
        return {name: carry[name] for name in wanted}

    def method_at(k: int, carry: Any) -> Method:
        def method(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
            if inner and k > 0:
                dynamics = _from(carry["w"], dynamics)
            found = at(k)(problem, dynamics, lam, steps=steps, start=carry["x"] if system and k > 0 else None)
            ends: Any = found.carry
            return found._replace(carry={name: ends[name] for name in wanted} if wanted else ())

        return through_embedding(method)

    return MethodSeries(init, method_at)


def _from(w: Tree, dynamics: Dynamics) -> Dynamics:
    """The same dynamics with w_0 = w."""
    return Dynamics(lambda lam: dynamics.init(lam)._replace(w=w), dynamics.step)
