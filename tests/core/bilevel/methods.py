"""Every method in one place: whoever adds one adds a line here, and the matrices of this folder test it."""

from collections.abc import Callable
from functools import partial

from core.bilevel import linear_solve
from core.bilevel.hypergradients import dynamics_fixed_point, forward, implicit, reverse, unrolled
from core.bilevel.problem import Method

ITERATIVE: dict[str, Callable[[int], Method]] = {
    "unrolled": lambda T: unrolled,
    "reverse": lambda T: reverse,
    "segmented": lambda T: partial(reverse, segment=3),
    "truncated_at_T": lambda T: partial(reverse, truncate=T),
    "segmented_automatically": lambda T: partial(reverse, segment="auto"),
    "two_snapshots": lambda T: partial(reverse, snapshots=2),
    "segmented_truncated_at_T": lambda T: partial(reverse, segment=2, truncate=T),
    "forward": lambda T: forward,
    "forward_in_chunks": lambda T: partial(forward, chunk=4),
}
"""T -> a method that gives the gradient of f_T, whatever T, problem and dynamics are."""
IMPLICIT: dict[str, Method] = {
    "cg": partial(implicit, solve=partial(linear_solve.cg, tolerance=1e-13)),
    "cg_normal": partial(implicit, solve=partial(linear_solve.cg_normal, tolerance=1e-13)),
    "dense": partial(implicit, solve=linear_solve.dense),
    "neumann": partial(implicit, solve=partial(linear_solve.neumann, iterations=400), condition=dynamics_fixed_point),
    "fixed_point": partial(
        implicit,
        solve=partial(linear_solve.fixed_point, iterations=400, tolerance=1e-13),
        condition=dynamics_fixed_point,
    ),
    "dense_fixed_point": partial(implicit, solve=linear_solve.dense, condition=dynamics_fixed_point),
}
"""Methods that give the gradient of f where w_T is the minimizer and it is one of a kind."""
CUT: dict[str, Method] = {"truncated": partial(reverse, truncate=3)}
"""Methods that give neither, on purpose."""
METHODS: dict[str, Method] = {**{name: make(1000) for name, make in ITERATIVE.items()}, **IMPLICIT, **CUT}
"""All of them, for what every method has to do."""
