"""Which assumptions of the convergence theorem an experiment meets, from its spec alone (Franceschi et al. 2018, 3.2).

As T grows, min f_T tends to min f and minimizers of f_T to minimizers of f, where f_T(lam) = E(w_T(lam), lam) and
f(lam) = E(w(lam), lam), if: (i) the set Lambda of outer variables is compact; (ii) E is continuous; (iii) L is
continuous with one minimizer w(lam) for every lam; (iv) w(lam) is bounded; (v) E is Lipschitz in w, uniformly in lam;
(vi) w_T(lam) tends to w(lam) uniformly in lam. Where the outer variables are free, (iii) to (vi) are judged on
every compact set of them.
"""

from typing import Any

from core.spec.convergence import convergence, follows, learned
from core.spec.experiment import Experiment
from core.spec.minimizers import UNKNOWN, bounded, continuous, lipschitz, unique
from core.spec.plugins import PluginProblem
from core.spec.problems import (
    ClippedWeights,
    HyperCleaning,
    Quadratic,
)
from core.spec.verdicts import Verdict, met, not_known, not_met

CONVERGENCE_SERIES = ("contraction_factor", "inner_gradient_relative")
"""What measures whether w_T comes close to w(lam), and so whether there is a w(lam) near by."""


def assumptions(spec: Experiment) -> list[dict[str, Any]]:
    """One entry an assumption: name, statement, status, reason, and the series that measure it."""
    steps = convergence(spec)
    return [
        _entry("compact outer set", "(i) The set Lambda of outer variables is compact.", _compact(spec)),
        _entry("continuous outer objective", "(ii) E(w, lam) is jointly continuous.", continuous(spec.problem)),
        _entry("continuous inner objective", "(iii) L(w, lam) is jointly continuous.", continuous(spec.problem)),
        _entry("unique inner minimizer", "(iii) L(., lam) has one minimizer for every lam.", unique(spec.problem)),
        _entry("bounded inner minimizers", "(iv) The minimizers are bounded on Lambda.", bounded(spec.problem)),
        _entry(
            "Lipschitz outer objective",
            "(v) E(., lam) is Lipschitz with a constant that does not depend on lam.",
            lipschitz(spec.problem, steps),
        ),
        _entry(
            "uniform convergence",
            "(vi) The inner dynamics converge to the minimizer, uniformly on Lambda.",
            steps,
        ),
        _entry(
            "hypergradient of f_T",
            "What is minimized is f_T, whose minimizers the theorem is about: the outer steps follow its gradient.",
            follows(spec),
        ),
    ]


def _entry(name: str, statement: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "name": name,
        "statement": statement,
        "status": verdict.status,
        "reason": verdict.reason,
        "series": list(CONVERGENCE_SERIES) if verdict.status == "measured" else [],
    }


def _compact(spec: Experiment) -> Verdict:
    problem = spec.problem
    if isinstance(problem, HyperCleaning) and isinstance(problem.weights, ClippedWeights):
        if not learned(spec):
            return met("The weights are projected onto {0 <= weight_i <= 1, sum <= radius}, closed and bounded.")
        return not_met("The weights are, but the outer variables of the inner dynamics are free.")
    if isinstance(problem, PluginProblem):
        if learned(spec):
            return not_met("Whatever the package does to its own, the outer variables of the inner dynamics are free.")
        return not_known(f"{UNKNOWN} It may hold the outer variables in a bounded set (`project`).")
    free = "The outer variables are free; the other assumptions are judged on every compact set of them."
    if isinstance(problem, Quadratic) and problem.damping > 0:
        free += " The damping holds the minimizers of f in a ball, so that only that ball matters."
    return not_met(free)
