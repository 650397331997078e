"""Learned optimizers: the hypergradient against a written-out loop, the steps against SGD, and short trainings."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from core.bilevel import dynamics, trees
from core.bilevel.derivatives import WithGradient, gradient
from core.bilevel.hypergradients.inner import run
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built, build_model, make_context
from core.models.optimizer_networks import OptimizerNetwork, lstm_optimizer, mlp_optimizer
from core.problems import optimization_tasks
from core.problems.learned_optimizer import inside
from core.problems.optimization_tasks import Stacked, TaskFamily, at_most, classification, parts_of, quadratics
from core.problems.optimizer_comparison import OTHERS, Comparison, compare
from core.spec import Experiment
from core.spec.learned_problems import Classification, Quadratics
from core.spec.learned_reports import OPTIMIZER_RATES

LSTM: dict[str, Any] = {"kind": "lstm", "hidden": 3}
MLP: dict[str, Any] = {"kind": "mlp", "hidden": [3], "decays": [0.5, 0.9], "rate": 0.02}
QUADRATICS: dict[str, Any] = {"kind": "quadratics", "dimension": 3}
WINE: dict[str, Any] = {"kind": "wine"}
NETWORKS: dict[str, Any] = {
    "kind": "classification",
    "dataset": WINE,
    "model": {"kind": "mlp", "hidden": [2], "activation": "sigmoid"},
    "batch": 7,
}
SMALL: dict[str, Any] = {"kind": "learned_optimizer", "meta_batch": 2}
STEPS = 4


def family(tasks: dict[str, Any], seed: int = 0) -> TaskFamily:
    spec = Experiment.model_validate(
        {"problem": {**SMALL, "tasks": tasks}, "seed": seed, "resources": {"precision": "float64"}}
    )
    context = make_context(spec, device="cpu", data_dir=Path("none"))
    chosen = spec.problem.tasks  # type: ignore[union-attr]
    if isinstance(chosen, Quadratics):
        return quadratics(chosen, context)
    assert isinstance(chosen, Classification)
    model = build_model(chosen.model, chosen.dataset.features, chosen.dataset.classes, context.dtype)
    return classification(chosen, model, context)


def network(optimizer: dict[str, Any]) -> OptimizerNetwork:
    knobs: dict[str, Any] = {"scale": 0.1, "log_range": 10.0, "dtype": torch.float64}
    if optimizer["kind"] == "lstm":
        return lstm_optimizer(optimizer["hidden"], 2, **knobs)
    return mlp_optimizer(optimizer["hidden"], optimizer["decays"], rate=optimizer["rate"], **knobs)


def written_out(own: Tree, optimizer: OptimizerNetwork, tasks: Stacked, *, second_order: bool) -> Tensor:
    """E by a loop over steps with torch's plain autograd; differentiable in the network's parameters."""
    theta, memory, total = tasks.start.clone().requires_grad_(), optimizer.rest(tasks.start), torch.zeros(())
    for t in range(1, STEPS + 1):
        (gradient,) = torch.autograd.grad(tasks.losses(t, theta).sum(), theta, create_graph=second_order)
        move, memory = optimizer.update(own, gradient if second_order else gradient.detach(), memory)
        theta = theta + move
        total = total + tasks.losses(t + 1, theta).sum()
    return total / (STEPS * len(tasks.start))


@pytest.mark.parametrize(
    "tasks",
    [QUADRATICS, NETWORKS, {**NETWORKS, "batch": None}, {**NETWORKS, "model": {"kind": "linear"}}],
    ids=["quadratics", "networks", "all examples", "linear"],
)
def test_gradients_that_are_written_out_are_those_of_the_losses(tasks: dict[str, Any]) -> None:
    stacked = family(tasks).draw("training", 0, 3)
    total = stacked.total()
    assert isinstance(total, WithGradient)
    theta = stacked.start + torch.rand(stacked.start.shape, generator=torch.Generator().manual_seed(0)).double()
    for t in (None, 2):
        torch.testing.assert_close(gradient(total, 1)(t, theta), gradient(total.value, 1)(t, theta))


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("tasks", [QUADRATICS, NETWORKS], ids=["quadratics", "networks"])
@pytest.mark.parametrize("optimizer", [LSTM, MLP], ids=["lstm", "mlp"])
def test_the_hypergradient_is_that_of_a_written_out_loop(
    optimizer: dict[str, Any],
    tasks: dict[str, Any],
    second_order: bool,
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
) -> None:
    problem = {**SMALL, "optimizer": optimizer, "tasks": tasks, "second_order": second_order}
    initial = built(problem, {"steps": STEPS}).instance.initial
    leaves, structure = trees.flatten(initial)
    wanted = [leaf.detach().requires_grad_() for leaf in leaves]
    own = trees.unflatten(wanted, structure)["optimizer"]  # type: ignore[call-overload,index]
    with torch.enable_grad():
        expected = written_out(own, network(optimizer), family(tasks).draw("training", 0, 2), second_order=second_order)
        grads = torch.autograd.grad(expected, wanted)
    for method in ({"kind": "unrolled"}, {"kind": "reverse"}, {"kind": "reverse", "segment": 2}, {"kind": "forward"}):
        found = hypergradient(problem, {"steps": STEPS, "hypergradient": method})
        assert float(found.outer_loss) == pytest.approx(float(expected.detach()), rel=1e-12)
        torch.testing.assert_close(trees.leaves(found.grad), list(grads), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("tasks", [QUADRATICS, NETWORKS], ids=["quadratics", "networks"])
@pytest.mark.parametrize("optimizer", [LSTM, MLP], ids=["lstm", "mlp"])
def test_only_the_whole_derivative_is_a_finite_difference(
    optimizer: dict[str, Any],
    tasks: dict[str, Any],
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Callable[..., float],
    direction: Callable[[Tree], Tree],
) -> None:
    problem = {**SMALL, "optimizer": optimizer, "tasks": tasks}
    instance = built(problem, {"steps": STEPS}).instance
    along = direction(instance.initial)
    expected = slope(*instance.at(0), instance.initial, along, STEPS)
    whole, part = (
        float(trees.dot(hypergradient({**problem, "second_order": second}, {"steps": STEPS}).grad, along))
        for second in (True, False)
    )
    assert whole == pytest.approx(expected, rel=1e-5)
    assert abs(part - expected) > 1e-4 * abs(expected)


@pytest.mark.parametrize("tasks", [QUADRATICS, NETWORKS], ids=["quadratics", "networks"])
def test_an_optimizer_that_gives_minus_rate_times_the_gradient_is_sgd(
    tasks: dict[str, Any], built: Callable[..., Built]
) -> None:
    instance = built({**SMALL, "optimizer": MLP, "tasks": tasks}, {"steps": 12}).instance
    _, phi = instance.at(0)
    drawn = family(tasks).draw("training", 0, 2)

    def objective(t: int, w: Tree, lam: Tree) -> Tensor:
        return drawn.losses(t, w).sum()  # type: ignore[arg-type]

    def ends(lam: Tree, other: dynamics.Dynamics) -> None:
        found, expected = inside(run(phi, lam, 12)[1].w).theta, run(other, (), 12)[1].w
        torch.testing.assert_close(found, expected)

    ends(instance.initial, dynamics.gradient_descent(objective, lambda lam: drawn.start, rate=0.02))
    direct = torch.tensor([0, -0.1, 0], dtype=torch.float64)  # of the mean with decay 0.5: momentum
    own = {"optimizer": {**instance.initial["optimizer"], "direct": direct}}  # type: ignore[call-overload,index,dict-item]
    ends(own, dynamics.heavy_ball(objective, lambda lam: drawn.start, rate=0.05, momentum=0.5))


@pytest.mark.parametrize("hypergradient", [{"kind": "reverse"}, {"kind": "unrolled"}, {"kind": "forward"}])
def test_unrolls_go_on_with_the_same_tasks_and_then_begin_anew(
    hypergradient: dict[str, Any], built: Callable[..., Built]
) -> None:
    problem = {**SMALL, "optimizer": MLP, "tasks": NETWORKS, "unrolls": 2}
    algorithm = {"steps": 3, "hypergradient": hypergradient, "optimizer": {"kind": "sgd", "rate": 0.01}}
    instance, solver = built(problem, algorithm)
    states, series = [solver.init(instance.initial)], []
    for k in range(3):
        state, values = solver.step(k, states[-1])
        states.append(state)
        series.append(values)
    drawn = family(NETWORKS).draw("training", 0, 2)
    phi = instance.at(0)[1]
    s, losses = phi.init(states[0].lam), []
    for t in range(1, 7):  # the second half with the lam that the first one led to
        s = phi.step(t, s, states[0].lam if t <= 3 else states[1].lam)
        losses.append(drawn.losses(t + 1, inside(s.w).theta).mean())
    assert float(series[0]["outer_objective"]) == pytest.approx(float(torch.stack(losses[:3]).mean()))
    assert float(series[1]["outer_objective"]) == pytest.approx(float(torch.stack(losses[3:]).mean()))
    assert float(series[1]["inner_objective_start"]) == pytest.approx(float(series[0]["inner_objective_end"]))
    fresh = family(NETWORKS).draw("training", 1, 2)
    assert float(series[2]["inner_objective_start"]) == pytest.approx(float(fresh.losses(None, fresh.start).sum()))


@pytest.mark.parametrize("tasks", [QUADRATICS, NETWORKS], ids=["quadratics", "networks"])
def test_tasks_are_functions_of_seed_part_and_number(tasks: dict[str, Any]) -> None:
    def looks(seed: int, part: Any, number: int) -> Tensor:
        drawn = family(tasks, seed).draw(part, number, 2)
        return drawn.losses(3, drawn.start)

    same = looks(0, "training", 1)
    assert torch.equal(same, looks(0, "training", 1))
    for other in ((1, "training", 1), (0, "validation", 1), (0, "test", 1), (0, "training", 2)):
        assert not torch.equal(same, looks(*other))
    assert same[0] != same[1]
    drawn = family(NETWORKS).draw("training", 0, 2)
    assert not torch.equal(drawn.losses(1, drawn.start), drawn.losses(2, drawn.start))


def test_tasks_of_meta_training_validation_and_test_see_disjoint_examples() -> None:
    spec = Experiment.model_validate({"problem": {**SMALL, "tasks": NETWORKS}})
    tasks = spec.problem.tasks  # type: ignore[union-attr]
    assert isinstance(tasks, Classification)
    found, origin = parts_of(tasks, make_context(spec, device="cpu", data_dir=Path("none")))
    rows = {part: {tuple(row) for row in examples.x.tolist()} for part, examples in found.items()}
    assert {part: len(each) for part, each in rows.items()} == {"training": 89, "validation": 44, "test": 45}
    assert origin.rows is not None
    assert [len(each) for each in origin.rows] == [89, 44, 45]
    assert family(NETWORKS).origin is not None
    assert len(set.union(*rows.values())) == 178


def test_without_minibatches_a_step_sees_all_of_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = family({**NETWORKS, "batch": None}).draw("training", 0, 2)
    of_all = drawn.losses(None, drawn.start)
    monkeypatch.setattr(optimization_tasks, "LOOKED_AT", 20)
    torch.testing.assert_close(drawn.losses(1, drawn.start), of_all)
    assert (drawn.losses(None, drawn.start) != of_all).all()


def test_rates_are_tuned_on_validation_tasks_alone() -> None:
    """One step on L = a/2 theta^2 is best at the rate 1/a, here 1 in validation and 0.01 in test."""

    def tasks(curvature: float) -> Iterator[Stacked]:
        yield Stacked(torch.ones(2, 3), lambda t, theta: curvature / 2 * theta.square().sum(-1))

    comparison = Comparison(lambda: tasks(1.0), lambda: tasks(100.0), lambda drawn: iter([drawn.start]))
    found = compare(comparison, {"trained": 1})["trained"]["sgd"]
    assert found["rate"] == pytest.approx(1.0)
    assert found["loss"]["mean"] == pytest.approx(150 * 99**2)


def test_an_evaluation_sees_so_many_tasks_whatever_their_chunks() -> None:
    sizes = [[len(each.start) for each in at_most(family(QUADRATICS), "test", 7, together)] for together in (3, 7, 9)]
    assert sizes == [[3, 3, 1], [7], [7]]


def trained(
    built: Callable[..., Built], problem: dict[str, Any], hyperiterations: int, **rest: Any
) -> tuple[Any, Tree]:
    algorithm = {
        "steps": 10,
        "hypergradient": {"kind": "unrolled"},
        "optimizer": {"kind": "adam", "rate": 0.02},
        "hyperiterations": hyperiterations,
    }
    instance, solver = built({**SMALL, **problem}, algorithm, **rest)
    state = solver.init(instance.initial)
    for k in range(hyperiterations):
        state, _ = solver.step(k, state)
    return instance, state.lam


@pytest.mark.parametrize("seed", [0, 1])
def test_an_lstm_learns_to_optimize_quadratics(built: Callable[..., Built], seed: int) -> None:
    problem = {"optimizer": {"kind": "lstm", "hidden": 8}, "tasks": {**QUADRATICS, "dimension": 5}, "meta_batch": 16}
    instance, lam = trained(built, problem, 60, seed=seed, evaluation={"episodes": 50})
    before, after = (instance.evaluate(each).test["loss"] for each in (instance.initial, lam))
    assert after.mean < 0.5 * before.mean
    assert (after.size, after.unit) == (50, "episodes")
    report = instance.report(lam)
    assert report["trained"]["learned"]["loss"]["mean"] == pytest.approx(after.mean)
    assert report["trained"]["learned"]["loss"]["mean"] < report["start"]["mean"]


def test_an_mlp_learns_to_beat_the_gradient_descent_that_it_starts_as(built: Callable[..., Built]) -> None:
    problem = {"optimizer": MLP | {"rate": 0.1}, "tasks": NETWORKS, "meta_batch": 4}
    instance, lam = trained(built, problem, 30, evaluation={"episodes": 10})
    before, after = (instance.evaluate(each).test for each in (instance.initial, lam))
    assert after["loss"].mean < 0.8 * before["loss"].mean
    assert after["mean_loss"].mean < before["mean_loss"].mean


def test_the_report_tunes_the_others_on_validation_tasks_and_shows_test_tasks(built: Callable[..., Built]) -> None:
    problem = {**SMALL, "optimizer": MLP, "tasks": QUADRATICS, "horizon": 15}
    instance = built(problem, {"steps": 5}, evaluation={"episodes": 20}).instance
    report = json.loads(json.dumps(instance.report(instance.initial)))
    drawn = {part: family(QUADRATICS).draw(part, 0, 20) for part in ("validation", "test")}

    def final(rate: float, part: str, steps: int) -> float:
        tasks = drawn[part]
        made = OTHERS["sgd"](lambda t, w, lam: tasks.losses(t, w).sum(), lambda lam: tasks.start, rate)  # type: ignore[arg-type]
        return float(tasks.losses(None, run(made, (), steps)[1].w).mean())  # type: ignore[arg-type]

    for name, steps in (("trained", 5), ("longer", 15)):
        assert report[name]["steps"] == steps
        tuned = report[name]["sgd"]
        assert tuned["rate"] == min(OPTIMIZER_RATES, key=lambda rate: final(rate, "validation", steps))
        assert not tuned["at_the_edge_of_the_grid"]
        assert tuned["loss"]["mean"] == pytest.approx(final(tuned["rate"], "test", steps))
        learned = report[name]["learned"]
        assert learned["loss"]["mean"] == pytest.approx(final(MLP["rate"], "test", steps))  # it starts as SGD
        for each in ("learned", *OTHERS):
            assert report[name][each]["loss"]["episodes"] == 20
            curve = report[name][each]["curve"]
            assert len(curve["steps"]) == len(curve["loss"]) == min(steps, 10)
            assert curve["loss"][-1] == pytest.approx(report[name][each]["loss"]["mean"])
            assert curve["steps"][-1] == steps


REFUSED: tuple[tuple[dict[str, Any], dict[str, Any], str, str], ...] = (
    ({}, {"dynamics": {"kind": "adam"}}, "/algorithm/dynamics", "leave `dynamics` out"),
    ({}, {"dynamics": {"learn_rate": True, "kind": "gradient_descent"}}, "/algorithm/dynamics", "leave `dynamics` out"),
    ({}, {"hypergradient": {"kind": "implicit"}}, "/algorithm/hypergradient", "use `reverse`"),
    ({}, {"hypergradient": {"kind": "exact"}}, "/algorithm/hypergradient", "use `reverse`"),
    ({}, {"hypergradient": {"kind": "first_order"}}, "/algorithm/hypergradient", "`second_order` false"),
    ({}, {"hypergradient": {"kind": "reversible"}}, "/algorithm/hypergradient", "use `reverse`"),
    ({}, {"hypergradient": {"kind": "forward"}}, "/algorithm/hypergradient", "give a `chunk`"),
    ({}, {"kind": "real_time"}, "/algorithm/kind", "`unrolls`"),
    ({}, {"kind": "soba"}, "/algorithm/kind", "use `nested`"),
    ({"horizon": 40, "unrolls": 2}, {"steps": 20}, "/problem/horizon", "raise `horizon`"),
    ({"tasks": {**NETWORKS, "batch": 45}}, {}, "/problem/tasks/batch", "lower `batch`"),
    ({"tasks": {**NETWORKS, "dataset": {"kind": "diabetes"}}}, {}, "/problem/tasks/dataset", "with classes"),
)


@pytest.mark.parametrize(("problem", "algorithm", "pointer", "remedy"), REFUSED)
def test_what_cannot_be_is_refused(
    problem: dict[str, Any], algorithm: dict[str, Any], pointer: str, remedy: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate({"problem": {**SMALL, **problem}, "algorithm": algorithm})
    (error,) = caught.value.errors()
    assert error["ctx"]["pointer"] == pointer
    assert remedy in error["msg"]


@pytest.mark.parametrize("section", ["truncation", "contraction"])
def test_measurements_of_convergence_are_refused(section: str) -> None:
    with pytest.raises(ValidationError, match="leave `every` out"):
        Experiment.model_validate({"problem": SMALL, "diagnostics": {section: {"every": 1}}})
