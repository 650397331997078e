"""Which assumptions of the convergence theorem an experiment meets, from its spec alone (Franceschi et al. 2018, 3.2).

As T grows, min f_T tends to min f and minimizers of f_T to minimizers of f, where f_T(lam) = E(w_T(lam), lam) and
f(lam) = E(w(lam), lam), if: (i) the set Lambda of outer variables is compact; (ii) E is continuous; (iii) L is
continuous with one minimizer w(lam) for every lam; (iv) w(lam) is bounded; (v) E is Lipschitz in w, uniformly in lam;
(vi) w_T(lam) tends to w(lam) uniformly in lam. Where the outer variables are free, (iii) to (vi) are judged on
every compact set of them.
"""

from typing import Any, Literal, NamedTuple, assert_never

from core.spec.algorithms import (
    Exact,
    FirstOrder,
    GradientDescent,
    HeavyBall,
    Implicit,
    Nested,
    Nesterov,
    RandomForward,
    Reptile,
    Reverse,
)
from core.spec.experiment import Experiment
from core.spec.heads import PrototypeHeads, RidgeHeads
from core.spec.learned_problems import LearnedData, LearnedOptimizer, Quadratics
from core.spec.models import Linear, Mlp
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.plugins import PluginProblem
from core.spec.problem_checks import squares
from core.spec.problems import (
    ClippedWeights,
    HyperCleaning,
    HyperRepresentation,
    Initialization,
    LinearRepresentation,
    Problem,
    Quadratic,
    RandomQuadratics,
    Regularization,
)
from core.spec.sizes import minibatch_examples, training_sets

Status = Literal["by construction", "measured", "not met"]
CONVERGENCE_SERIES = ("contraction_factor", "inner_gradient_relative")
"""What measures whether w_T comes close to w(lam), and so whether there is a w(lam) near by."""


UNKNOWN = "The code comes from a package, whose spec does not say."
"""Reason of what is not known of plugins; it counts as not met."""


NETWORK = "The loss of a network is Lipschitz in its parameters on bounded sets of them only."


class Verdict(NamedTuple):
    """Whether an assumption is met, and why."""

    status: Status
    """`measured`: the spec alone does not say; series do."""
    reason: str


def assumptions(spec: Experiment) -> list[dict[str, Any]]:
    """One entry an assumption: name, statement, status, reason, and the series that measure it."""
    convergence = _convergence(spec)
    return [
        _entry("compact outer set", "(i) The set Lambda of outer variables is compact.", _compact(spec)),
        _entry("continuous outer objective", "(ii) E(w, lam) is jointly continuous.", _continuous(spec.problem)),
        _entry("continuous inner objective", "(iii) L(w, lam) is jointly continuous.", _continuous(spec.problem)),
        _entry("unique inner minimizer", "(iii) L(., lam) has one minimizer for every lam.", _unique(spec.problem)),
        _entry("bounded inner minimizers", "(iv) The minimizers are bounded on Lambda.", _bounded(spec.problem)),
        _entry(
            "Lipschitz outer objective",
            "(v) E(., lam) is Lipschitz with a constant that does not depend on lam.",
            _lipschitz(spec.problem, convergence),
        ),
        _entry(
            "uniform convergence",
            "(vi) The inner dynamics converge to the minimizer, uniformly on Lambda.",
            convergence,
        ),
        _entry(
            "hypergradient of f_T",
            "What is minimized is f_T, whose minimizers the theorem is about: the outer steps follow its gradient.",
            _follows(spec),
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


def _met(reason: str) -> Verdict:
    return Verdict("by construction", reason)


def _not_met(reason: str) -> Verdict:
    return Verdict("not met", reason)


def _from_package(problem: Problem) -> bool:
    """Whether the problem, or the model that its inner variables belong to, is a plugin."""
    if isinstance(problem, Regularization | HyperCleaning | LearnedData):
        return not isinstance(problem.model, Linear | Mlp)
    return isinstance(problem, PluginProblem)


def _compact(spec: Experiment) -> Verdict:
    problem = spec.problem
    if isinstance(problem, HyperCleaning) and isinstance(problem.weights, ClippedWeights):
        if not _learned(spec):
            return _met("The weights are projected onto {0 <= weight_i <= 1, sum <= radius}, closed and bounded.")
        return _not_met("The weights are, but the outer variables of the inner dynamics are free.")
    free = "The outer variables are free; the other assumptions are judged on every compact set of them."
    if isinstance(problem, Quadratic) and problem.damping > 0:
        free += " The damping holds the minimizers of f in a ball, so that only that ball matters."
    return _not_met(free)


def _continuous(problem: Problem) -> Verdict:
    if isinstance(problem, Quadratic | RandomQuadratics):
        return _met("It is a polynomial.")
    if _from_package(problem):
        return _not_met(UNKNOWN)
    return _met("Models and losses are compositions of continuous functions; norms divide by roots away from zero.")


def _unique(problem: Problem) -> Verdict:
    if _from_package(problem):
        return _not_met(UNKNOWN)
    match problem:
        case Quadratic():
            return _met(f"Strongly convex: the eigenvalues of A lie between {1 / problem.condition:.3g} and 1.")
        case RandomQuadratics() if problem.inner_examples >= problem.inner_dimension:
            return _met("The mean Hessian of at least as many normal draws as dimensions is positive definite.")
        case RandomQuadratics():
            return _not_met("Fewer examples than dimensions: the inner Hessian is singular. Raise `inner_examples`.")
        case LearnedOptimizer() if isinstance(problem.tasks, Quadratics):
            return _met("A square matrix of normal draws is regular with probability 1: each task has one minimizer.")
        case LearnedOptimizer():
            return _not_met("Softmax offsets may all be raised by one number, and nothing regularizes the models.")
        case Regularization() | HyperCleaning() | LearnedData() if not isinstance(problem.model, Linear):
            return _not_met(
                "The loss of a network is not convex in its parameters; exchanging two hidden units of a minimizer "
                "gives another."
            )
        case Regularization() if squares(problem):
            return _met("Ridge regression: exp(lam) > 0 on every weight, and the offset's own curvature is 1.")
        case Regularization() if problem.model == Linear(bias=False):
            return _met("A convex loss, strongly convex by exp(lam) > 0 on every weight.")
        case Regularization() if problem.loss == "logistic" and problem.folds is None:
            return _met(
                "Strictly convex in weights and offset, and so with one minimizer as the training set has both "
                "classes: a split where it has not is refused."
            )
        case Regularization() if problem.loss == "logistic":
            return Verdict(
                "measured",
                "Strictly convex in weights and offset, and so with one minimizer if the training examples of every "
                "fold have both classes, which the split decides; with `bias` false it has one always.",
            )
        case Regularization():
            return _not_met(
                "Softmax offsets are not regularized, and adding a number to all of them changes nothing: a linear "
                "model with `bias` false has one minimizer."
            )
        case HyperRepresentation(heads=RidgeHeads()):
            return _met("Ridge regression: strongly convex by exp(log_strength) > 0 on all parameters of the heads.")
        case HyperRepresentation(heads=PrototypeHeads()):
            return _met(
                "The class means alone minimize the mean squared distance of the support features to the prototypes of "
                f"their classes, strongly convex with modulus 1/way = {1 / training_sets(problem).way:.3g}. "
                "(Prototypical networks state no inner problem; this one is ours.)"
            )
        case MulticlassTransfer():
            return _met("There are no inner variables: the empty vector is the only one.")
        case LinearRepresentation():
            return _met(f"Ridge regression: L is strongly convex with modulus {problem.strength:.3g} whatever H is.")
        case HyperCleaning() | HyperRepresentation() | LearnedData() if problem.l2 > 0:
            convex = "No example has a negative weight, so the loss of the linear model is convex"
            return _met(f"{convex}, and l2 = {problem.l2:.3g} on all parameters makes L strongly convex.")
        case HyperCleaning() | HyperRepresentation() | LearnedData():
            return _not_met(
                "Without a regularizer, adding one vector to the weights of all classes changes nothing, and examples "
                "that can be separated have no minimizer at all: give `l2` above zero."
            )
        case Initialization() if problem.adapt == "all":
            return _not_met(
                "The loss of a network is not convex in its parameters; a proximal term makes L strongly convex only "
                "where it is stronger than the most negative curvature, which nothing bounds."
            )
        case Initialization() if problem.proximal > 0:
            return _met(f"Heads have a convex loss, and proximal = {problem.proximal:.3g} makes L strongly convex.")
        case Initialization():
            return _not_met(
                "Adding one vector to the weights of all classes changes nothing, and examples that can be separated "
                "have no minimizer at all: give `proximal` above zero."
            )
        case PluginProblem():
            return _not_met(UNKNOWN)
        case _:
            assert_never(problem)


def _bounded(problem: Problem) -> Verdict:
    if _unique(problem).status == "not met":
        return _not_met("There is no single minimizer to follow.")
    match problem:
        case Quadratic() | RandomQuadratics():
            return _met("w(lam) is an affine function of lam, bounded where lam is.")
        case Regularization() if squares(problem):
            return _met(
                "Whatever the strengths, a weighted least-squares solution lies in the convex hull of finitely many "
                "basic solutions (Ben-Tal and Teboulle 1990)."
            )
        case Regularization() if problem.loss == "logistic":
            return Verdict(
                _unique(problem).status, "Where there is one minimizer it is continuous in lam, bounded where lam is."
            )
        case Regularization():
            return _met("||w||^2 <= 2 log(classes) / (smallest strength), as L(0) = log(classes).")
        case HyperCleaning():
            return _met("||w||^2 <= 2 log(classes) / l2 whatever the weights, as L(0) <= log(classes).")
        case HyperRepresentation(heads=RidgeHeads()):
            return _met("||w||^2 <= tasks / strength whatever the representation, as L(0) = tasks / 2.")
        case HyperRepresentation(heads=PrototypeHeads()):
            return _met("Means of features are bounded where the features are, as on every compact set of lam.")
        case MulticlassTransfer():
            return _met("There are no inner variables.")
        case LinearRepresentation():
            return _met("||w||^2 <= 1 / strength whatever H is, as L(0) = 1/2.")
        case LearnedOptimizer():
            return _met("The minimizers of the tasks do not depend on lam.")
        case LearnedData():
            return _met("||w||^2 <= 2 log(classes) / l2 whatever the learned examples, as L(0) = log(classes).")
        case HyperRepresentation():
            return _met("||w||^2 <= 2 tasks log(way) / l2 whatever the representation, as L(0) = tasks log(way).")
        case Initialization():
            return _met("proximal/2 ||w - w_0||^2 <= L(w_0), which is continuous in lam.")
        case PluginProblem():
            return _not_met(UNKNOWN)
        case _:
            assert_never(problem)


def _lipschitz(problem: Problem, convergence: Verdict) -> Verdict:
    if _from_package(problem):
        return _not_met(UNKNOWN)
    if isinstance(problem, LearnedOptimizer):
        return _not_met("The losses of the tasks are Lipschitz in their parameters on bounded sets of them only.")
    if isinstance(problem, Regularization | HyperCleaning | LearnedData) and not isinstance(problem.model, Linear):
        return _not_met(NETWORK)
    if isinstance(problem, Initialization) and problem.adapt == "all":
        return _not_met(NETWORK)
    if isinstance(problem, Quadratic | RandomQuadratics | LinearRepresentation) or (
        isinstance(problem, Regularization) and squares(problem)
    ):
        return Verdict(
            convergence.status,
            "A squared loss is Lipschitz on bounded sets of w only, which w_T stays in where (iv) and (vi) hold.",
        )
    if isinstance(problem, MulticlassTransfer):
        return _met("There are no inner variables that E could depend on.")
    if isinstance(problem, HyperRepresentation) and isinstance(problem.heads, PrototypeHeads):
        return Verdict(
            convergence.status,
            "A squared distance is Lipschitz on bounded sets of w only, which w_T stays in where (iv) and (vi) hold.",
        )
    return _met(
        "The gradient of the cross-entropy of linear scores is at most sqrt(2) times the norm of an example's "
        "features and the 1 of the offset, which is bounded on Lambda."
    )


def _convergence(spec: Experiment) -> Verdict:
    algorithm = spec.algorithm
    if not isinstance(algorithm, Nested):
        return _not_met(
            f"`{algorithm.kind}` does not minimize f_T: it keeps w from one hyperiteration to the next, of which the "
            "theorem says nothing."
        )
    if isinstance(spec.problem, LearnedOptimizer):
        return _not_met(
            "The steps of a network need not converge, and E is of the losses on the way rather than of where they "
            "end: the theorem says nothing of it."
        )
    if _unique(spec.problem).status == "not met":
        return _not_met("There is no single minimizer to converge to.")
    if isinstance(spec.problem, MulticlassTransfer):
        return _met("There are no inner variables: every step ends where it began.")
    if isinstance(algorithm.hypergradient, Exact):
        return _met("`exact` takes the minimizer itself.")
    if _minibatches(spec.problem, algorithm):
        return _not_met("With minibatches and a constant rate w_T stays at a distance from the minimizer.")
    if _learned(spec):
        return Verdict("measured", "Rate or momentum are outer variables: whether the steps converge depends on them.")
    return _admissible(spec.problem, algorithm)


def _follows(spec: Experiment) -> Verdict:
    """Whether the hypergradient is that of f_T."""
    problem, algorithm = spec.problem, spec.algorithm
    if isinstance(problem, MulticlassTransfer):
        return _met("Without inner variables f_T = f = E, and every hypergradient is the gradient of E.")
    if not isinstance(algorithm, Nested):
        return _not_met(f"`{algorithm.kind}` has no f_T: it goes on from the w of the last hyperiteration.")
    if isinstance(problem, LearnedOptimizer) and problem.unrolls > 1:
        return _not_met("With `unrolls` above 1 each of them takes the state that it starts from for given: truncated.")
    if isinstance(problem, LearnedOptimizer) and not problem.second_order:
        return _not_met(
            "The gradients that the network sees are not differentiated, as in the paper: set `second_order` for the "
            "whole hypergradient."
        )
    match algorithm.hypergradient:
        case Implicit():
            return _not_met(
                "`implicit` takes w_T for the minimizer: it is the gradient of f but for the errors of w_T and of the "
                "linear system, and not that of f_T."
            )
        case Reverse(truncate=int(last)) if last < algorithm.steps:
            return _not_met(
                f"Truncated to the last {last} of {algorithm.steps} steps it is biased (Shaban et al. 2019): leave "
                "`truncate` out."
            )
        case FirstOrder():
            return _not_met("`first_order` leaves out what the inner steps do to w_T: use `reverse`.")
        case Reptile():
            return _not_met("`reptile` is a direction and the gradient of no function: use `reverse`.")
        case Exact():
            return _met("`exact` is the gradient of f itself.")
        case RandomForward():
            return _met("The estimate is that of f_T on average.")
        case _:
            return _met("It is that of f_T, to round-off.")


def _learned(spec: Experiment) -> bool:
    dynamics = getattr(spec.algorithm, "dynamics", None)
    return any(getattr(dynamics, name, False) for name in ("learn_rate", "learn_momentum"))


def _minibatches(problem: Problem, algorithm: Nested) -> bool:
    batch, examples = algorithm.dynamics.batch, minibatch_examples(problem)
    return batch is not None and examples is not None and batch < examples


def _admissible(problem: Problem, algorithm: Nested) -> Verdict:
    """Linear and uniform convergence where the rate is below a bound that the spec gives."""
    dynamics = algorithm.dynamics
    if isinstance(problem, Quadratic) and isinstance(dynamics, GradientDescent | HeavyBall | Nesterov):
        bound = _stable(dynamics)
        if dynamics.rate < bound:
            return _met(f"Linear dynamics with a rate below {bound:.4g}: they contract by the same factor for all lam.")
        return _not_met(f"The rate is not below {bound:.4g}: the inner dynamics do not converge.")
    if isinstance(problem, HyperRepresentation) and isinstance(problem.heads, PrototypeHeads):
        way = training_sets(problem).way
        bound = way * _stable(dynamics) if isinstance(dynamics, GradientDescent | HeavyBall | Nesterov) else 0
        if dynamics.rate < bound:
            return _met(f"Linear dynamics of curvature 1/way with a rate below {bound:.4g}: the same for all lam.")
    if isinstance(problem, HyperCleaning) and problem.standardize and isinstance(problem.model, Linear):
        # Standardized features: the mean of ||(x, 1)||^2 is at most d + 1; weights <= 1; a softmax curves by 1/2.
        largest = problem.l2 + (problem.dataset.features + problem.model.bias) / 2
        if isinstance(dynamics, GradientDescent) and dynamics.rate < 2 / largest:
            return _met(
                f"Gradient descent with curvature between l2 = {problem.l2:.3g} and {largest:.4g} for all weights, "
                "and a rate below 2 over the largest."
            )
    if isinstance(dynamics, GradientDescent | HeavyBall | Nesterov):
        return Verdict(
            "measured",
            "The steps converge where the rate is small enough for the curvature of L, which depends on data and "
            "outer variables.",
        )
    return Verdict("measured", f"`{dynamics.kind}` converges on some problems of this kind and not on others.")


def _stable(dynamics: GradientDescent | HeavyBall | Nesterov) -> float:
    """The rate below which the iteration is stable for curvatures in (0, 1]."""
    match dynamics:
        case GradientDescent():
            return 2.0
        case HeavyBall():
            return 2 * (1 + dynamics.momentum)
        case Nesterov():
            return 2 * (1 + dynamics.momentum) / (1 + 2 * dynamics.momentum)
        case _:
            assert_never(dynamics)
