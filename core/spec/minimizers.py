"""Assumptions (ii) to (v) of the convergence theorem: what the objectives and the inner minimizers are like."""

from typing import assert_never

from core.spec.heads import PrototypeHeads, RidgeHeads
from core.spec.learned_problems import LearnedData, LearnedOptimizer, Quadratics
from core.spec.models import Linear, Mlp
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.plugins import PluginProblem
from core.spec.problem_checks import squares
from core.spec.problems import (
    HyperCleaning,
    HyperRepresentation,
    Initialization,
    LinearRepresentation,
    Problem,
    Quadratic,
    RandomQuadratics,
    Regularization,
)
from core.spec.sizes import training_sets
from core.spec.verdicts import Verdict, met, not_known, not_met

UNKNOWN = "The code comes from a package, whose spec does not say."
"""Reason of what is not known of plugins."""

NETWORK = "The loss of a network is Lipschitz in its parameters on bounded sets of them only."


def continuous(problem: Problem) -> Verdict:
    """(ii), (iii) E and L are jointly continuous."""
    if isinstance(problem, Quadratic | RandomQuadratics):
        return met("It is a polynomial.")
    if _from_package(problem):
        return not_known(UNKNOWN)
    return met("Models and losses are compositions of continuous functions; norms divide by roots away from zero.")


def unique(problem: Problem) -> Verdict:
    """(iii) L(., lam) has one minimizer for every lam."""
    if _from_package(problem):
        return not_known(UNKNOWN)
    match problem:
        case Quadratic():
            return met(f"Strongly convex: the eigenvalues of A lie between {1 / problem.condition:.3g} and 1.")
        case RandomQuadratics():
            return met("The mean Hessian of at least as many normal draws as dimensions is positive definite.")
        case LearnedOptimizer() if isinstance(problem.tasks, Quadratics):
            return met("A square matrix of normal draws is regular with probability 1: each task has one minimizer.")
        case LearnedOptimizer():
            return not_met("Softmax offsets may all be raised by one number, and nothing regularizes the models.")
        case Regularization() | HyperCleaning() | LearnedData() if not isinstance(problem.model, Linear):
            return not_met(
                "The loss of a network is not convex in its parameters; exchanging two hidden units of a minimizer "
                "gives another."
            )
        case Regularization() if squares(problem):
            return met("Ridge regression: exp(lam) > 0 on every weight, and the offset's own curvature is 1.")
        case Regularization() if problem.model == Linear(bias=False):
            return met("A convex loss, strongly convex by exp(lam) > 0 on every weight.")
        case Regularization() if problem.loss == "logistic" and problem.folds is None:
            return met(
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
            return not_met(
                "Softmax offsets are not regularized, and adding a number to all of them changes nothing: a linear "
                "model with `bias` false has one minimizer."
            )
        case HyperRepresentation(heads=RidgeHeads()):
            return met("Ridge regression: strongly convex by exp(log_strength) > 0 on all parameters of the heads.")
        case HyperRepresentation(heads=PrototypeHeads()):
            return met(
                "The class means alone minimize the mean squared distance of the support features to the prototypes of "
                f"their classes, strongly convex with modulus 1/way = {1 / training_sets(problem).way:.3g}. "
                "(Prototypical networks state no inner problem; this one is ours.)"
            )
        case MulticlassTransfer():
            return met("There are no inner variables: the empty vector is the only one.")
        case LinearRepresentation():
            return met(f"Ridge regression: L is strongly convex with modulus {problem.strength:.3g} whatever H is.")
        case HyperCleaning() | HyperRepresentation() | LearnedData() if problem.l2 > 0:
            convex = "No example has a negative weight, so the loss of the linear model is convex"
            return met(f"{convex}, and l2 = {problem.l2:.3g} on all parameters makes L strongly convex.")
        case HyperCleaning() | HyperRepresentation() | LearnedData():
            return not_met(
                "Without a regularizer, adding one vector to the weights of all classes changes nothing, and examples "
                "that can be separated have no minimizer at all: give `l2` above zero."
            )
        case Initialization() if problem.adapt == "all":
            return not_met(
                "The loss of a network is not convex in its parameters; a proximal term makes L strongly convex only "
                "where it is stronger than the most negative curvature, which nothing bounds."
            )
        case Initialization() if problem.proximal > 0:
            return met(f"Heads have a convex loss, and proximal = {problem.proximal:.3g} makes L strongly convex.")
        case Initialization():
            return not_met(
                "Adding one vector to the weights of all classes changes nothing, and examples that can be separated "
                "have no minimizer at all: give `proximal` above zero."
            )
        case PluginProblem():
            return not_known(UNKNOWN)
        case _:
            assert_never(problem)


def bounded(problem: Problem) -> Verdict:
    """(iv) The minimizers are bounded on Lambda."""
    if (single := unique(problem)).status == "not met":
        return not_met("There is no single minimizer to follow.")
    if single.status == "not known":
        return not_known("It is not known whether there is a single minimizer to follow.")
    match problem:
        case Quadratic() | RandomQuadratics():
            return met("w(lam) is an affine function of lam, bounded where lam is.")
        case Regularization() if squares(problem):
            return met(
                "Whatever the strengths, a weighted least-squares solution lies in the convex hull of finitely many "
                "basic solutions (Ben-Tal and Teboulle 1990)."
            )
        case Regularization() if problem.loss == "logistic":
            return Verdict(
                unique(problem).status, "Where there is one minimizer it is continuous in lam, bounded where lam is."
            )
        case Regularization():
            return met("||w||^2 <= 2 log(classes) / (smallest strength), as L(0) = log(classes).")
        case HyperCleaning():
            return met("||w||^2 <= 2 log(classes) / l2 whatever the weights, as L(0) <= log(classes).")
        case HyperRepresentation(heads=RidgeHeads()):
            return met("||w||^2 <= tasks / strength whatever the representation, as L(0) = tasks / 2.")
        case HyperRepresentation(heads=PrototypeHeads()):
            return met("Means of features are bounded where the features are, as on every compact set of lam.")
        case MulticlassTransfer():
            return met("There are no inner variables.")
        case LinearRepresentation():
            return met("||w||^2 <= 1 / strength whatever H is, as L(0) = 1/2.")
        case LearnedOptimizer():
            return met("The minimizers of the tasks do not depend on lam.")
        case LearnedData():
            return met("||w||^2 <= 2 log(classes) / l2 whatever the learned examples, as L(0) = log(classes).")
        case HyperRepresentation():
            return met("||w||^2 <= 2 tasks log(way) / l2 whatever the representation, as L(0) = tasks log(way).")
        case Initialization():
            return met("proximal/2 ||w - w_0||^2 <= L(w_0), which is continuous in lam.")
        case PluginProblem():
            return not_known(UNKNOWN)
        case _:
            assert_never(problem)


def lipschitz(problem: Problem, convergence: Verdict) -> Verdict:
    """(v) E(., lam) is Lipschitz uniformly in lam, given whether (vi) holds."""
    if _from_package(problem):
        return not_known(UNKNOWN)
    if isinstance(problem, LearnedOptimizer):
        return not_met("The losses of the tasks are Lipschitz in their parameters on bounded sets of them only.")
    if isinstance(problem, Regularization | HyperCleaning | LearnedData) and not isinstance(problem.model, Linear):
        return not_met(NETWORK)
    if isinstance(problem, Initialization) and problem.adapt == "all":
        return not_met(NETWORK)
    if isinstance(problem, Quadratic | RandomQuadratics | LinearRepresentation) or (
        isinstance(problem, Regularization) and squares(problem)
    ):
        return Verdict(
            convergence.status,
            "A squared loss is Lipschitz on bounded sets of w only, which w_T stays in where (iv) and (vi) hold.",
        )
    if isinstance(problem, MulticlassTransfer):
        return met("There are no inner variables that E could depend on.")
    if isinstance(problem, HyperRepresentation) and isinstance(problem.heads, PrototypeHeads):
        return Verdict(
            convergence.status,
            "A squared distance is Lipschitz on bounded sets of w only, which w_T stays in where (iv) and (vi) hold.",
        )
    return met(
        "The gradient of the cross-entropy of linear scores is at most sqrt(2) times the norm of an example's "
        "features and the 1 of the offset, which is bounded on Lambda."
    )


def _from_package(problem: Problem) -> bool:
    """Whether the problem, or the model that its inner variables belong to, is a plugin."""
    if isinstance(problem, Regularization | HyperCleaning | LearnedData):
        return not isinstance(problem.model, Linear | Mlp)
    return isinstance(problem, PluginProblem)
