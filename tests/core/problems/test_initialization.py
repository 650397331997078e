"""The MAML family against loops over tasks in plain autograd, dense solves, finite differences, and its relatives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built, make_context
from core.checkpointing import MemoryCheckpoints
from core.inner import build_inner
from core.methods import build_method
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
from tests.core.models.test_copies import written_out
from tests.core.problems.conftest import in_double

WAY, SHOT, QUERY, TASKS, RATE = 3, 2, 4, 3, 0.1
SMALL: dict[str, Any] = {
    "kind": "initialization",
    "model": {"kind": "conv4", "filters": 2},
    "way": WAY,
    "shot": SHOT,
    "query": QUERY,
    "meta_batch": TASKS,
}
SMOOTH = {**SMALL, "model": {"kind": "mlp", "hidden": [3, 2]}}
GD = {"kind": "gradient_descent", "rate": RATE}
SGD_BY_PARAMETER = {**GD, "learn_rate": True, "rate_per_parameter": True}


def close(found: Tree, expected: Tree, tolerance: float = 1e-9) -> None:
    assert trees.norm(trees.subtract(found, expected)) <= tolerance * trees.norm(expected)


class Loop:
    """One task after the other, by torch.autograd alone."""

    def __init__(self, found: Built, architecture: str) -> None:
        problem, _ = found.instance.at(0)
        assert problem.tasks is not None
        self.images: Any = problem.tasks.data
        self.lam: Any = found.instance.initial
        self.architecture = architecture

    def loss(self, w: Any, images: Tensor, examples: int) -> Tensor:
        features = written_out(self.architecture, w["representation"], images)
        labels = torch.arange(WAY).repeat_interleave(examples)
        return F.cross_entropy(features @ w["head"][:-1] + w["head"][-1], labels)

    def adapted(self, start: Any, task: int, steps: int, *, second: bool) -> Any:
        w = start
        for _ in range(steps):
            leaves, structure = trees.flatten(w)
            support = self.loss(w, self.images["support"][task], SHOT)
            grads = torch.autograd.grad(support, leaves, create_graph=second)
            w = trees.unflatten([x - RATE * g for x, g in zip(leaves, grads, strict=True)], structure)
        return w

    def gradient(self, steps: int, *, second: bool = True) -> tuple[Tree, list[Any]]:
        """Of the mean query loss with respect to the initialization; and the w_T of the tasks."""
        start = trees.map_leaves(lambda leaf: leaf.clone().requires_grad_(), self.lam["initialization"])
        ends = [self.adapted(start, task, steps, second=second) for task in range(TASKS)]
        losses = [self.loss(w, self.images["query"][task], QUERY) for task, w in enumerate(ends)]
        leaves, structure = trees.flatten(start)
        grads = torch.autograd.grad(torch.stack(losses).mean(), leaves)
        return trees.unflatten(list(grads), structure), ends


@pytest.fixture
def at(synthetic_omniglot: Path, built: Callable[..., Built]) -> Callable[..., tuple[Built, Hypergradient]]:
    """(problem, steps, method, dynamics) -> what is built, and the hypergradient of hyperiteration 0."""

    def compute(
        problem: dict[str, Any], steps: int, method: str | dict[str, Any] = "reverse", dynamics: Any = GD
    ) -> tuple[Built, Hypergradient]:
        chosen = {"kind": method} if isinstance(method, str) else method
        algorithm = {"steps": max(steps, 1), "dynamics": dynamics, "hypergradient": chosen}
        spec = in_double(problem, algorithm)
        found = built(problem, algorithm, data_dir=synthetic_omniglot)
        context = make_context(spec, device="cpu", data_dir=synthetic_omniglot)
        call = build_method(spec, build_inner(spec.algorithm), context).at(0, ())
        return found, call(*found.instance.at(0), found.instance.initial, steps=steps)

    return compute


ARCHITECTURES = {
    "strides": SMALL,
    "max-pools": {**SMALL, "model": {"kind": "conv4", "filters": 2, "downsample": "max_pool"}},
    "wide": {**SMALL, "model": {"kind": "conv4", "filters": 6}},
    "mlp": SMOOTH,
}


@pytest.mark.parametrize("method", ["reverse", "unrolled"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_maml_is_a_loop_over_tasks_in_plain_autograd(at: Any, architecture: str, steps: int, method: str) -> None:
    found, hypergradient = at(ARCHITECTURES[architecture], steps, method)
    expected, ends = Loop(found, architecture).gradient(steps)
    close(hypergradient.grad["initialization"], expected)
    close(hypergradient.state.w, trees.map_leaves(lambda *leaves: torch.stack(leaves), *ends))


@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_maml_is_that_loop_without_second_derivatives(at: Any, steps: int) -> None:
    found, hypergradient = at(SMALL, steps, "first_order")
    start: Any = found.instance.initial["initialization"]
    loop = Loop(found, "strides")
    loop.lam = {"initialization": start}
    ends = [
        trees.map_leaves(
            lambda leaf: leaf.detach().requires_grad_(),
            loop.adapted(trees.map_leaves(lambda x: x.clone().requires_grad_(), start), task, steps, second=False),
        )
        for task in range(TASKS)
    ]
    grads = [
        torch.autograd.grad(loop.loss(w, loop.images["query"][task], QUERY), trees.leaves(w))
        for task, w in enumerate(ends)
    ]
    expected = [torch.stack(leaves).mean(0) for leaves in zip(*grads, strict=True)]
    close(trees.leaves(hypergradient.grad["initialization"]), expected)
    full, _ = loop.gradient(steps)
    assert trees.norm(trees.subtract(hypergradient.grad["initialization"], full)) > 1e-3 * trees.norm(full)


def test_reptile_is_the_mean_of_the_ways_back(at: Any) -> None:
    found, hypergradient = at(SMALL, 4, "reptile")
    loop = Loop(found, "strides")
    _, ends = loop.gradient(4)
    ways = [trees.subtract(loop.lam["initialization"], w) for w in ends]
    close(
        hypergradient.grad["initialization"], trees.map_leaves(lambda *leaves: torch.stack(leaves).mean(0), *ways), 1e-9
    )


@pytest.mark.parametrize("method", ["reverse", "unrolled", "first_order"])
def test_without_inner_steps_it_is_plain_training(at: Any, method: str) -> None:
    found, hypergradient = at(SMALL, 0, method)
    expected, _ = Loop(found, "strides").gradient(0)
    close(hypergradient.grad["initialization"], expected)
    _, tiny = at(SMALL, 3, method, {**GD, "rate": 1e-12})
    close(tiny.grad["initialization"], expected, 1e-8)


def test_small_rates_make_first_order_the_whole(at: Any) -> None:
    def gap(rate: float) -> float:
        whole, first = (at(SMALL, 3, each, {**GD, "rate": rate})[1].grad for each in ("reverse", "first_order"))
        return float(trees.norm(trees.subtract(whole, first)) / trees.norm(whole))

    assert gap(1e-6) == pytest.approx(gap(1e-5) / 10, rel=0.01)  # by the Hessian times the rate


@pytest.mark.parametrize("chunk", [1, 2])
@pytest.mark.parametrize("method", ["reverse", "unrolled", "first_order", "reptile"])
@pytest.mark.parametrize("adapt", ["all", "head"])
def test_tasks_in_chunks_are_all_tasks_together(at: Any, adapt: str, method: str, chunk: int) -> None:
    if (adapt, method) == ("head", "reptile"):
        pytest.skip("refused")
    problem = {**SMALL, "adapt": adapt}
    _, whole = at(problem, 2, method)
    _, chunked = at({**problem, "task_chunk": chunk}, 2, method)
    close(chunked.grad, whole.grad)
    close(chunked.state.w, whole.state.w)
    torch.testing.assert_close(chunked.outer_loss, whole.outer_loss)


@pytest.mark.parametrize("adapt", ["all", "head"])
@pytest.mark.parametrize("head_start", ["learned", "zero"])
@pytest.mark.parametrize("dynamics", [GD, {**GD, "learn_rate": True}, SGD_BY_PARAMETER])
def test_every_mode_agrees_through_the_norms(at: Any, adapt: str, head_start: str, dynamics: dict[str, Any]) -> None:
    problem = {**SMALL, "adapt": adapt, "head_start": head_start, "proximal": 0.3, "meta_batch": 2}
    _, expected = at(problem, 2, "unrolled", dynamics)
    for method in ("reverse", "forward", {"kind": "reverse", "segment": 1}):
        close(at(problem, 2, method, dynamics)[1].grad, expected.grad)


POOLED = {
    "max-pools": {"kind": "conv4", "filters": 2, "downsample": "max_pool"},
    "residual": {"kind": "residual", "blocks": [2, 1], "hidden": 3, "features": 2},
}
"""With few enough parameters that forward mode takes them to torch's tape."""


@pytest.mark.parametrize("adapt", ["all", "head"])
@pytest.mark.parametrize("architecture", POOLED)
def test_forward_mode_goes_through_max_pools(
    at: Any, architecture: str, adapt: str, slope: Callable[..., float], direction: Callable[[Tree], Tree]
) -> None:
    problem = {**SMALL, "model": POOLED[architecture], "adapt": adapt, "meta_batch": 1, "way": 2, "query": 2}
    found, expected = at(problem, 2)
    close(at(problem, 2, "forward")[1].grad, expected.grad)
    sampled = {"kind": "random_forward", "directions": 2}
    assert trees.norm(at(problem, 2, sampled)[1].grad) > 0
    along = trees.scale(0.1, direction(found.instance.initial))  # short: no window changes its largest pixel
    difference = slope(*found.instance.at(0), found.instance.initial, along, 2)
    assert float(trees.dot(expected.grad, along)) == pytest.approx(difference, rel=1e-5)


def test_a_dense_system_goes_through_max_pools(at: Any) -> None:
    problem = {**SMALL, "model": POOLED["residual"], "meta_batch": 1, "way": 2, "query": 2, "proximal": 5.0}
    dense, cg = (
        at(problem, 30, {"kind": "implicit", "solver": solver}, {**GD, "rate": 0.02})[1]
        for solver in ({"kind": "dense"}, {"kind": "cg", "tolerance": 1e-12, "iterations": 1000})
    )
    assert dense.diagnostics["solver_residual"] < 1e-9
    close(dense.grad, cg.grad)


@pytest.mark.parametrize("solver", [{"kind": "cg", "tolerance": 1e-13, "iterations": 1000}, {"kind": "dense"}])
def test_imaml_is_a_dense_solve_and_the_limit_of_reverse(at: Any, solver: dict[str, Any]) -> None:
    proximal, steps, dynamics = 5.0, 300, {**GD, "rate": 0.02}
    problem = {**SMALL, "model": {"kind": "mlp", "hidden": [2]}, "proximal": proximal}
    found, hypergradient = at(problem, steps, {"kind": "implicit", "solver": solver}, dynamics)
    assert hypergradient.diagnostics["inner_gradient_norm"] < 1e-9
    loop, expected = Loop(found, "mlp"), []
    for task in range(TASKS):
        w, unravel = trees.ravel(trees.map_leaves(lambda leaf, task=task: leaf[task], hypergradient.state.w))
        support, query = (
            lambda w, images=loop.images[part][task], count=count, unravel=unravel: loop.loss(unravel(w), images, count)
            for part, count in (("support", SHOT), ("query", QUERY))
        )
        matrix = torch.eye(len(w), dtype=torch.float64) + torch.func.hessian(support)(w) / proximal
        expected.append(unravel(torch.linalg.solve(matrix, torch.func.grad(query)(w) / TASKS)))
    close(hypergradient.grad["initialization"], trees.map_leaves(lambda *leaves: torch.stack(leaves).sum(0), *expected))
    _, reverse = at(problem, steps, "reverse", dynamics)
    close(hypergradient.grad, reverse.grad, 1e-8)


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_meta_sgd_is_finite_differences(
    at: Any, adapt: str, slope: Callable[..., float], direction: Callable[[Tree], Tree]
) -> None:
    found, hypergradient = at({**SMOOTH, "adapt": adapt}, 3, "reverse", {**SGD_BY_PARAMETER, "rate": 0.01})
    instance = found.instance
    along: Any = direction(instance.initial)
    expected = slope(*instance.at(0), instance.initial, along, 3)
    assert float(trees.dot(hypergradient.grad, along)) == pytest.approx(expected, rel=1e-6)
    only_rates = {**trees.zeros_like(along), "rates": trees.scale(0.01, along["rates"])}
    expected = slope(*instance.at(0), instance.initial, only_rates, 3)
    assert float(trees.dot(hypergradient.grad, only_rates)) == pytest.approx(expected, rel=1e-4)


def test_equal_rates_are_one_rate(at: Any) -> None:
    _, one = at(SMALL, 2, "reverse", {**GD, "learn_rate": True})
    found, many = at(SMALL, 2, "reverse", SGD_BY_PARAMETER)
    close(many.grad["initialization"], one.grad["initialization"])
    total = trees.ravel(many.grad["rates"])[0].sum()
    torch.testing.assert_close(RATE * total, one.grad["log_rate"])  # of the logarithm
    shown = found.instance.natural(found.instance.initial)
    assert {name: float(value) for name, value in shown.items()} == pytest.approx(
        dict.fromkeys(["rate/0", "rate/1", "rate/2", "rate/3", "rate/head"], RATE)
    )


@pytest.mark.parametrize("model", [SMALL["model"], SMOOTH["model"]])
@pytest.mark.parametrize("dynamics", [GD, {**GD, "learn_rate": True}, {"kind": "adam", "rate": 0.01}])
def test_anil_from_a_zero_head_is_hyper_representation(at: Any, model: dict[str, Any], dynamics: Any) -> None:
    problem = {**SMALL, "model": model}
    anil, found = at({**problem, "adapt": "head", "head_start": "zero"}, 4, "reverse", dynamics)
    other, expected = at({**problem, "kind": "hyper_representation"}, 4, "reverse", dynamics)
    close(found.grad["initialization"]["representation"], expected.grad["representation"])
    for name in expected.grad.keys() - {"representation"}:
        torch.testing.assert_close(found.grad[name], expected.grad[name])
    close(found.state.w["head"], expected.state.w)
    for one, two in zip(
        anil.instance.evaluate(anil.instance.initial), other.instance.evaluate(other.instance.initial), strict=True
    ):
        for name in ("accuracy", "loss", "accuracy_batch_statistics"):
            assert one[name].mean == pytest.approx(two[name].mean, rel=1e-9)
            assert one[name].ci95 == pytest.approx(two[name].ci95, rel=1e-9)


def test_a_head_that_is_learned_is_moved(at: Any) -> None:
    _, learned = at({**SMALL, "adapt": "head"}, 2)
    assert trees.norm(learned.grad["initialization"]["head"]) > 0
    found, zero = at({**SMALL, "head_start": "zero"}, 2)
    assert zero.grad["initialization"].keys() == {"representation"}
    assert not zero.state.w["head"].equal(torch.zeros_like(zero.state.w["head"]))
    assert found.instance.initial["initialization"].keys() == {"representation"}


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_evaluation_adapts_to_each_episode(built: Callable[..., Built], synthetic_omniglot: Path, adapt: str) -> None:
    def scores(steps: int, rate: float, problem: dict[str, Any] | None = None) -> Any:
        algorithm = {"steps": steps, "dynamics": {**GD, "rate": rate}}
        chosen = {**SMALL, "model": {"kind": "conv4", "filters": 6}, "adapt": adapt, **(problem or {})}
        knobs: dict[str, Any] = {"data_dir": synthetic_omniglot, "evaluation": {"episodes": 40}}
        instance = built(chosen, algorithm, **knobs).instance
        return instance.evaluate(instance.initial)

    found, again = scores(5, 0.1), scores(5, 0.1)
    assert found == again
    assert found.validation != found.test
    for each in found:
        assert each["accuracy"].size == 40
        assert each["accuracy"] == each["accuracy_batch_statistics"] != each["accuracy_support_statistics"]
        assert each["accuracy"].ci95 > 0
    assert found.test["loss"].mean < scores(1, 1e-9).test["loss"].mean  # where no step has been made
    chunked = scores(5, 0.1, {"task_chunk": 3})
    assert chunked.test["loss"].mean == pytest.approx(found.test["loss"].mean, rel=1e-9)


LEARNING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "maml": ({}, {}),
    "first order": ({}, {"hypergradient": {"kind": "first_order"}}),
    "reptile": ({}, {"hypergradient": {"kind": "reptile"}, "optimizer": {"kind": "sgd", "rate": 1.0}, "steps": 6}),
    "meta-sgd": ({}, {"dynamics": SGD_BY_PARAMETER, "steps": 1}),
    "anil": ({"adapt": "head"}, {}),
    "imaml": (
        {"proximal": 2.0},
        {"hypergradient": {"kind": "implicit", "solver": {"kind": "cg", "iterations": 5}}, "steps": 8},
    ),
}


@pytest.mark.parametrize("name", LEARNING)
def test_all_of_the_family_learn_unseen_classes(name: str, synthetic_omniglot: Path) -> None:
    problem, algorithm = LEARNING[name]
    spec = Experiment.model_validate(
        {
            "problem": {**SMALL, "model": {"kind": "conv4", "filters": 8}, "shot": 1, "meta_batch": 4, **problem},
            "algorithm": {
                "steps": 3,
                "dynamics": GD,
                "optimizer": {"kind": "adam", "rate": 0.005},
                "hyperiterations": 20,
                **algorithm,
            },
            "evaluation": {"every": 20, "episodes": 60},
        }
    )
    recorder = MemoryRecorder()
    outcome = run(spec, device="cpu", data_dir=synthetic_omniglot, recorder=recorder, checkpoints=MemoryCheckpoints())
    assert isinstance(outcome, Finished)
    before, after = (recorder.curves["validation/loss"][k] for k in (0, 20))
    assert after < before - 0.03
    assert outcome.result["test"]["accuracy"]["mean"] > 1 / WAY + outcome.result["test"]["accuracy"]["ci95"]
    if name == "meta-sgd":
        assert recorder.curves["outer/rate/head"][20] != recorder.curves["outer/rate/head"][0]
