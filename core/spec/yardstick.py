"""What a validation metric is measured on: members of a sweep are compared where it is the same for all of them."""

from typing import Any

from core.spec.experiment import Evaluation
from core.spec.learned_problems import LearnedOptimizer
from core.spec.plugins import PluginProblem
from core.spec.problem_checks import squares
from core.spec.problems import FewShot, LinearRepresentation, Problem, RandomQuadratics, Regularization
from core.spec.sizes import TableProblem, evaluation_sets, training_examples, validation_examples


def yardstick(problem: Problem, evaluation: Evaluation, *, steps: int) -> dict[str, Any]:
    """Plain data: the data, the tasks and the sizes that decide what is easy, and nothing that is for training alone.

    The seed, which draws splits and episodes, is left out: it draws from the same. A problem that is not known here is
    taken whole.

    Args:
        problem: of the experiment, as the next.
        evaluation: how many episodes or tasks there are.
        steps: inner steps T.
    """
    if isinstance(problem, FewShot):
        # The kind is left out: nine learners on the same episodes are what a sweep is for.
        tasks = evaluation_sets(problem)._asdict() | {"way_from": getattr(problem, "way_from", None)}
        return {"dataset": _dumped(problem.dataset.held_out()), **tasks, "episodes": evaluation.episodes}
    if isinstance(problem, TableProblem):
        return _table(problem)
    if isinstance(problem, LearnedOptimizer):
        trained = steps * problem.unrolls  # the loss is that after so many steps
        return {"tasks": _dumped(problem.tasks), "episodes": evaluation.episodes, "trained": trained}
    if isinstance(problem, LinearRepresentation):
        sizes = {name: getattr(problem, name) for name in ("classes", "validation", "test")}
        return {"dataset": _dumped(problem.dataset.held_out()), **sizes}
    if isinstance(problem, PluginProblem):
        return {"kind": problem.kind, **problem.yardstick()}
    return _dumped(problem, *(("initial",) if isinstance(problem, RandomQuadratics) else ()))


def _table(problem: TableProblem) -> dict[str, Any]:
    validated, folds = validation_examples(problem), None
    if isinstance(problem, Regularization) and problem.folds is not None:
        validated, folds = validated + training_examples(problem), problem.folds  # each is held out once
    return {
        "dataset": _dumped(problem.dataset),
        "validation": validated,
        "test": problem.test,  # as asked for: what training leaves is a draw from the same
        "folds": folds,
        "squared": isinstance(problem, Regularization) and squares(problem),
    }


def _dumped(part: Any, *without: str) -> dict[str, Any]:
    found: dict[str, Any] = part.model_dump(mode="json", exclude=set(without))
    return found
