"""Holds what the code of an installed package gives for its problem to what was agreed on, before anything runs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.finite_sum import ALL, FiniteSum
from core.bilevel.problem import Dynamics, Problem, Tree
from core.errors import ProblemInvalid
from core.problems.instance import Context, Evaluation, Instance, Metric, Selection
from core.spec.plugins import PluginProblem

TAKEN = ("outer_variables", "evaluation")
"""Names of files that experiments have whatever their problem."""


def checked(problem: PluginProblem, made: object, context: Context) -> Instance:
    """The instance that the package's code gives; evaluations and artifacts are checked when they are made.

    Raises:
        ProblemInvalid: something in it is not what `Instance` says; the message names it and what to change.
    """
    if not isinstance(made, Instance):
        _refuse(problem, made, "return core.problems.instance.Instance(...)")
    _check_initial(problem, made.initial, context)
    _check_objectives(problem, made)
    _check_tensors(problem, "natural(lam)", made.natural(made.initial))
    if not isinstance(made.selection, Selection):
        _refuse(problem, made.selection, "make it core.problems.instance.Selection(metric, better)", "as selection")
    return replace(made, evaluate=_evaluating(problem, made), artifacts=_keeping(problem, made.artifacts))


def _refuse(problem: PluginProblem, found: object, advice: str, what: str = "") -> NoReturn:
    raise ProblemInvalid(f"{problem.build} gives {type(found).__name__}{what and ' ' + what}: {advice}")


def _check_initial(problem: PluginProblem, initial: Tree, context: Context) -> None:
    leaves = trees.named_leaves({"initial": initial})
    if not leaves:
        raise ProblemInvalid(f"{problem.build} gives no outer variables: put at least one tensor into initial")
    for name, leaf in leaves.items():
        if not isinstance(leaf, Tensor):
            _refuse(problem, leaf, "make it a torch.Tensor, and hand it to context.place", f"as {name}")
        if leaf.dtype != context.dtype or leaf.device.type != context.device.type:
            raise ProblemInvalid(
                f"{problem.build} gives {name} of {leaf.dtype} on {leaf.device}, and the experiment computes in "
                f"{context.dtype} on {context.device}: make it floating-point, and hand it to context.place"
            )


@torch.no_grad()
def _check_objectives(problem: PluginProblem, made: Instance) -> None:
    match made.at(0):
        case (Problem() as stated, Dynamics()):
            z = made.initial if stated.embed is None else stated.embed(made.initial)
            w = stated.init(z)
            _check_scalar(problem, "inner(w, lam)", stated.inner(w, z))
            _check_scalar(problem, "outer(w, lam)", stated.outer(w, z))
        case other:
            _refuse(problem, other, "return (Problem(...), inner.dynamics(...))", "as at(0)")
    if problem.finite_sum():
        _check_sum(problem, made.finite_sum, made.initial)


def _check_sum(problem: PluginProblem, parts: FiniteSum | None, lam: Tree) -> None:
    if not isinstance(parts, FiniteSum):
        promised = f"as finite_sum, and {type(problem).__name__}.finite_sum() promises one"
        _refuse(problem, parts, "make it core.bilevel.finite_sum.FiniteSum(...), or let that return False", promised)
    w = parts.init(lam)
    _check_scalar(problem, "finite_sum.inner(w, lam, rows)", parts.inner(w, lam, ALL))
    _check_scalar(problem, "finite_sum.outer(w, lam, rows)", parts.outer(w, lam, ALL))


def _check_scalar(problem: PluginProblem, name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        _refuse(problem, value, "return a tensor without dimensions", f"as {name}")
    if value.ndim:
        raise ProblemInvalid(
            f"{problem.build} gives a tensor of shape {list(value.shape)} as {name}: an objective is one number, take "
            "its .mean() or .sum()"
        )


def _check_tensors(problem: PluginProblem, name: str, found: object) -> None:
    if not isinstance(found, Mapping):
        _refuse(problem, found, "return a dict of tensors by name", f"as {name}")
    for key, value in found.items():
        if not isinstance(value, Tensor):
            _refuse(problem, value, "make it a torch.Tensor", f"as {key!r} of {name}")


def _evaluating(problem: PluginProblem, made: Instance) -> Callable[..., Evaluation]:
    """Its evaluate, whose metrics are checked."""

    def evaluate(lam: Tree, *w: Tree) -> Evaluation:
        found = made.evaluate(lam, *w)
        if not isinstance(found, Evaluation):
            _refuse(problem, found, "return core.problems.instance.Evaluation(validation, test)", "as evaluate(lam)")
        for part, metrics in (("validation", found.validation), ("test", found.test)):
            _check_metrics(problem, part, metrics)
        if made.selection.metric not in found.validation:
            raise ProblemInvalid(
                f"{problem.build} selects by the validation metric `{made.selection.metric}`, and evaluate gives "
                f"{_listed(found.validation)}: name one of these in selection, or add it"
            )
        return found

    return evaluate


def _check_metrics(problem: PluginProblem, part: str, metrics: object) -> None:
    if not isinstance(metrics, Mapping):
        _refuse(problem, metrics, "make it a dict of metrics by name", f"as {part} of evaluate(lam)")
    for name, value in metrics.items():
        if not isinstance(value, Metric):
            advice = "make it core.problems.instance.metric(values), of a tensor with one value for each example"
            _refuse(problem, value, advice, f"as {part} metric `{name}`")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _keeping(problem: PluginProblem, artifacts: Callable[[Tree], Any]) -> Callable[[Tree], Any]:
    """Its artifacts, whose tensors are checked."""

    def keep(lam: Tree) -> Any:
        files = artifacts(lam)
        if not isinstance(files, Mapping):
            _refuse(problem, files, "return a dict of files by name, each a dict of tensors", "as artifacts(lam)")
        for name, tensors in files.items():
            if name in TAKEN:
                raise ProblemInvalid(
                    f"{problem.build} gives an artifact `{name}`, which every experiment has: rename it"
                )
            _check_tensors(problem, f"the artifact {name}", tensors)
        return files

    return keep
