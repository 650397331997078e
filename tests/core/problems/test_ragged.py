"""Tasks with different numbers of classes are a loop over tasks without padding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Dynamics, Hypergradient, Problem, Tree
from core.build import Built, make_context
from core.inner import build_inner
from core.methods import build_method
from core.models.image_sets import image_sets
from core.problems.heads import labelled
from core.problems.hyper_representation import FewShot, network
from core.problems.inner import entry
from core.spec import Experiment
from core.spec.shortcuts import walks_in_dual
from core.spec.sizes import Sets

RAGGED: dict[str, Any] = {
    "kind": "hyper_representation",
    "model": {"kind": "conv4", "filters": 3},
    "way_from": 2,
    "way": 6,
    "shot": 2,
    "query": 3,
    "meta_batch": 5,
}
GD = {"kind": "gradient_descent", "rate": 0.1, "learn_rate": True}
FIXED = {"kind": "gradient_descent", "rate": 0.1}
UNROLLED = {"kind": "unrolled"}
HEAVY = {"kind": "heavy_ball", "rate": 0.1, "momentum": 0.5}
RIDGE: dict[str, Any] = {"kind": "ridge", "strength": 0.3}
PROTOTYPES: dict[str, Any] = {"kind": "prototypes"}
DENSE = {"kind": "implicit", "solver": {"kind": "dense"}}


def few_shot_of(built: Built) -> FewShot:
    few_shot = built.instance.at.__self__  # type: ignore[attr-defined]
    assert isinstance(few_shot, FewShot)
    return few_shot


def alone(few_shot: FewShot, support: Tensor, outer: Tensor, way: int) -> tuple[Problem, Dynamics]:
    """The plain problem of one task, of the images of its classes only; its sets are padded to all classes."""
    problem, most = few_shot.problem, RAGGED["way"]
    shot, judged = len(support) // most, len(outer) // most
    support, query = support[: way * shot], outer[: way * judged]
    heads = labelled(way, shot, judged, device=support.device, l2=problem.l2, kind=problem.heads)

    def features(lam: Tree, images: Tensor) -> Tensor:
        sets = image_sets((1, len(images)), device=images.device, dtype=images.dtype)
        return few_shot.model.apply(network(lam), images, sets).unsqueeze(0)

    def embed(lam: Tree) -> Tree:
        carried = {**few_shot.inner.carried(lam), **heads.carried(lam)}
        return {"support": features(lam, support), "query": features(lam, query), **carried}

    return heads.state(few_shot.inner, embed)


@pytest.mark.parametrize(
    ("dynamics", "method", "heads"),
    [
        (GD, {"kind": "reverse"}, {"l2": 0.0}),
        (GD, {"kind": "reverse"}, {"l2": 0.3}),
        (GD, {"kind": "reverse", "segment": 2}, {"l2": 0.3}),
        (GD, {"kind": "unrolled"}, {"l2": 0.0}),
        (HEAVY, {"kind": "reverse"}, {"l2": 0.1}),
        (HEAVY, {"kind": "reversible"}, {"l2": 0.1}),
        ({"kind": "adam", "rate": 0.01, "epsilon": 1e-2}, {"kind": "reverse"}, {"l2": 0.1}),
        ({"kind": "gradient_descent"}, {"kind": "first_order"}, {"l2": 0.0}),
        (HEAVY, {"kind": "implicit", "solver": {"kind": "cg", "iterations": 200, "tolerance": 1e-12}}, {"l2": 0.3}),
        (FIXED, {"kind": "exact"}, {"heads": RIDGE}),
        (GD, {"kind": "reverse"}, {"heads": RIDGE}),
        (HEAVY, DENSE, {"heads": RIDGE}),
        (FIXED, {"kind": "exact"}, {"heads": PROTOTYPES}),
        (GD, {"kind": "reverse"}, {"heads": PROTOTYPES}),
        (HEAVY, DENSE, {"heads": PROTOTYPES}),
    ],
)
def test_the_hypergradient_is_that_of_a_loop_over_tasks(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    synthetic_omniglot: Path,
    dynamics: dict[str, Any],
    method: dict[str, Any],
    heads: dict[str, Any],
) -> None:
    problem, algorithm = {**RAGGED, **heads}, {"steps": 4, "dynamics": dynamics, "hypergradient": method}
    found = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
    few_shot = few_shot_of(made := built(problem, algorithm, data_dir=synthetic_omniglot))
    stated, _ = made.instance.at(0)
    assert stated.tasks is not None
    support, query, ways = (entry(stated.tasks.data, name) for name in ("support", "query", "ways"))
    assert len(set(ways.tolist())) > 2
    spec = Experiment.model_validate({"problem": problem, "algorithm": algorithm})
    inner, context = build_inner(spec.algorithm), make_context(spec, device="cpu", data_dir=synthetic_omniglot)
    plainly = build_method(spec, inner, context).at(0, ())
    loop = [
        plainly(*alone(few_shot, *sets, int(way)), made.instance.initial, steps=4)
        for *sets, way in zip(support, query, ways, strict=True)
    ]
    expected = trees.scale(1 / len(loop), loop[0].grad)
    for one in loop[1:]:
        expected = trees.axpy(1 / len(loop), one.grad, expected)
    tolerance = 1e-6 if method["kind"] == "implicit" else 1e-9
    assert trees.norm(trees.subtract(found.grad, expected)) <= tolerance * trees.norm(expected)
    outer = torch.stack([one.outer_loss for one in loop]).mean()
    torch.testing.assert_close(found.outer_loss, outer, rtol=1e-9, atol=0)
    fitted = found.state.w
    assert isinstance(fitted, Tensor)
    for head, one, way in zip(fitted, loop, ways.tolist(), strict=True):
        assert isinstance(one.state.w, Tensor)
        by_class = 0 if problem.get("heads") == PROTOTYPES else 1
        there, absent = torch.split(head, [way, RAGGED["way"] - way], dim=by_class)
        torch.testing.assert_close(there, one.state.w[0], rtol=1e-8, atol=1e-10)
        assert (absent == 0).all()


@pytest.mark.parametrize("heads", [{}, {"heads": RIDGE}, {"heads": PROTOTYPES}], ids=str)
def test_the_evaluation_is_that_of_a_loop_over_tasks(
    built: Callable[..., Built], synthetic_omniglot: Path, heads: dict[str, Any]
) -> None:
    algorithm = {"steps": 6, "dynamics": FIXED, **({"hypergradient": {"kind": "exact"}} if heads else {})}
    made = built({**RAGGED, **heads}, algorithm, data_dir=synthetic_omniglot, evaluation={"episodes": 40})
    few_shot, lam = few_shot_of(made), made.instance.initial
    accuracies, losses = [], []
    for episodes in few_shot.sampling.evaluation("test"):
        assert episodes.ways is not None
        for support, query, way in zip(episodes.support, episodes.query, episodes.ways.tolist(), strict=True):
            stated, dynamics = alone(few_shot, support, query, way)
            assert stated.embed is not None
            z = stated.embed(lam)
            w = few_shot.inner.solve(stated, dynamics, z)
            scores = few_shot.scoring().heads.functions().scores(w, z)[0]
            right = scores.argmax(-1) == torch.arange(way).repeat_interleave(RAGGED["query"])
            accuracies.append(float(right.double().mean()))
            losses.append(float(stated.outer(w, z)))
    test = made.instance.evaluate(lam).test
    assert test["accuracy_batch_statistics"].mean == pytest.approx(sum(accuracies) / 40, rel=1e-12)
    assert test["loss"].mean == pytest.approx(sum(losses) / 40, rel=1e-9)


@pytest.mark.parametrize("shape", [{"training_shot": 3}, {"training_shot": 3, "outer_set": "support"}])
def test_other_sets_in_meta_training_are_those_of_a_loop_over_tasks(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    synthetic_omniglot: Path,
    shape: dict[str, Any],
) -> None:
    problem, algorithm = {**RAGGED, **shape}, {"steps": 4, "dynamics": GD}
    found = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
    made = built(problem, algorithm, data_dir=synthetic_omniglot)
    few_shot, (stated, _) = few_shot_of(made), made.instance.at(0)
    assert stated.tasks is not None
    data: Any = stated.tasks.data
    assert data["support"].shape[1] == 6 * 3
    outer, lam = data.get("query", data["support"]), made.instance.initial
    spec = Experiment.model_validate({"problem": problem, "algorithm": {**algorithm, "hypergradient": UNROLLED}})
    plainly = build_method(
        spec, build_inner(spec.algorithm), make_context(spec, device="cpu", data_dir=synthetic_omniglot)
    ).at(0, ())
    loop = [
        plainly(*alone(few_shot, *sets, int(way)), lam, steps=4).grad
        for *sets, way in zip(data["support"], outer, data["ways"], strict=True)
    ]
    expected = trees.scale(1 / len(loop), loop[0])
    for grad in loop[1:]:
        expected = trees.axpy(1 / len(loop), grad, expected)
    assert trees.norm(trees.subtract(found.grad, expected)) <= 1e-9 * trees.norm(expected)


def test_joint_training_is_that_of_a_loop_over_tasks(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    problem = {**RAGGED, "outer_set": "support", "training_shot": 3}
    dynamics = {"kind": "gradient_descent", "rate": 0.1}
    joint = {"kind": "joint", "interval": 3, "dynamics": dynamics, "optimizer": {"kind": "sgd", "rate": 0.05}}
    made = built(problem, joint, data_dir=synthetic_omniglot)
    few_shot, (stated, _) = few_shot_of(made), made.instance.at(0)
    assert stated.tasks is not None
    data: Any = stated.tasks.data
    lam, state = made.instance.initial, made.algorithm.init(made.instance.initial)
    tasks = [alone(few_shot, x, x, int(way)) for x, way in zip(data["support"], data["ways"], strict=True)]
    heads: list[Any] = [None] * len(tasks)
    for k in range(3):
        state, _ = made.algorithm.step(k, state)
        leaves, structure = trees.flatten(lam)
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        start: Any = trees.unflatten(leaves, structure)
        total = torch.zeros((), dtype=torch.float64)
        for number, (task, _) in enumerate(tasks):
            assert task.embed is not None
            z = task.embed(start)
            w = task.init(trees.detach(z)) if heads[number] is None else heads[number]
            w = w.detach().requires_grad_()
            loss = task.inner(w, z)
            heads[number] = (w - 0.1 * torch.autograd.grad(loss, w, retain_graph=True)[0]).detach()
            total = total + loss
        grads = torch.autograd.grad(total / len(tasks), leaves)
        lam = trees.unflatten([x.detach() - 0.05 * g for x, g in zip(leaves, grads, strict=True)], structure)
    moved = trees.subtract(lam, made.instance.initial)
    assert trees.norm(moved) > 0
    assert trees.norm(trees.subtract(state.lam, lam)) <= 1e-9 * trees.norm(moved)


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_meta_batch_in_chunks_is_the_whole_meta_batch(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, chunk: int
) -> None:
    algorithm = {"steps": 3, "dynamics": GD}
    whole = hypergradient(RAGGED, algorithm, data_dir=synthetic_omniglot)
    chunked = hypergradient({**RAGGED, "task_chunk": chunk}, algorithm, data_dir=synthetic_omniglot)
    torch.testing.assert_close(chunked.grad, whole.grad, rtol=1e-9, atol=1e-12)


def test_no_walk_in_the_dual() -> None:
    assert not walks_in_dual(Experiment.model_validate({"problem": RAGGED}))
    assert walks_in_dual(Experiment.model_validate({"problem": {**RAGGED, "way_from": None}}))


def test_within_alphabets_every_class_of_a_task_is_of_one(
    built: Callable[..., Built], synthetic_alphabets: Path
) -> None:
    problem = {**RAGGED, "dataset": {"split": "alphabets"}, "way_from": 3, "way": 20}
    few_shot = few_shot_of(built(problem, data_dir=synthetic_alphabets))
    for part in ("train", "validation", "test"):
        episodes = few_shot.sampling.episodes(part, Sets(20, 2, 3), 30, "episodes", 0)
        assert episodes.ways is not None
        assert episodes.ways.min() >= 3
        assert episodes.ways.max() <= 20
        marks = (episodes.support.amax((-1, -2, -3)) * 255).round().long()  # [B, way shot], the alphabet of each image
        for own, ways in zip(marks, episodes.ways.tolist(), strict=True):
            assert len(set(own[: ways * RAGGED["shot"]].tolist())) == 1
