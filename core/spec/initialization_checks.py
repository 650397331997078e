"""What only learned initializations can have: a rate for each parameter, Reptile, a proximal term for implicit."""

from core.spec.algorithms import GradientDescent, Implicit, Reptile, Stepped
from core.spec.base import refuse
from core.spec.problems import Initialization, Problem


def check_initialization(problem: Problem, algorithm: Stepped) -> None:
    """Refuses what needs the problem `initialization` elsewhere, and what it cannot have itself."""
    _check_rates(problem, algorithm)
    if isinstance(algorithm.hypergradient, Reptile):
        _check_reptile(problem, algorithm)
    if isinstance(algorithm.hypergradient, Implicit) and isinstance(problem, Initialization) and problem.proximal == 0:
        refuse(
            "/problem/proximal",
            "implicit differentiation needs an inner solution that depends on where it started: give `proximal` above "
            "zero (iMAML), or use `reverse`",
        )


def _check_rates(problem: Problem, algorithm: Stepped) -> None:
    dynamics = algorithm.dynamics
    if not isinstance(dynamics, GradientDescent) or not dynamics.rate_per_parameter:
        return
    field = "/algorithm/dynamics/rate_per_parameter"
    if not isinstance(problem, Initialization):
        refuse(
            field,
            f"a rate a parameter (Meta-SGD) is for the problem `initialization`, not for {problem.kind}: leave it out",
        )
    if not dynamics.learn_rate:
        refuse(field, "the rates are not learned: set `learn_rate` too, or leave it out")
    if dynamics.rate_per_step:
        refuse(field, "a rate is one of a parameter or one of a step: leave out this or `rate_per_step`")


def _check_reptile(problem: Problem, algorithm: Stepped) -> None:
    field = "/algorithm/hypergradient"
    if not isinstance(problem, Initialization):
        refuse(
            field,
            f"`reptile` moves an initialization to where the inner steps end, and {problem.kind} does not learn one: "
            "use `reverse`, or the problem `initialization`",
        )
    if problem.adapt == "head":
        refuse(
            "/problem/adapt",
            "`reptile` moves only what the inner steps move, so that the network would never be learned: use `all`, or "
            "the hypergradient `reverse` or `first_order`",
        )
    if algorithm.dynamics.learned():
        refuse(
            "/algorithm/dynamics",
            "`reptile` says nothing about the dynamics' own outer variables: leave `learn_rate` and `learn_momentum` "
            "out, or use `reverse`",
        )
