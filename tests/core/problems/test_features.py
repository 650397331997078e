"""What is done to the features of few-shot problems: centring, and the mean over an image and its mirror image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built
from core.datasets.episodes import Episodes, joined
from core.problems import few_shot as few_shot_problems
from core.problems import sampling
from core.problems.few_shot import averaged
from core.problems.hyper_representation import FewShot, network
from core.spec import Experiment
from core.spec.shortcuts import walks_in_dual
from tests.core.problems.conftest import SMALL

SMOOTH: dict[str, Any] = {**SMALL, "model": {"kind": "mlp", "hidden": [6, 5]}}
CENTRED: dict[str, Any] = {"centred": True}
CROSSED: dict[str, Any] = {"cross_fitting": True}
RAGGED: dict[str, Any] = {"way_from": 2, "way": 4, "meta_batch": 5}
LEARNED = {"kind": "gradient_descent", "rate": 0.1, "learn_rate": True}
STEPS: dict[str, Any] = {"steps": 4, "dynamics": LEARNED}


def features(built: Built) -> dict[str, Tensor]:
    """Of the support and query sets of hyperiteration 0."""
    embed = built.instance.at(0)[0].embed
    assert embed is not None
    z = embed(built.instance.initial)
    assert isinstance(z, dict)
    return {name: z[name] for name in ("support", "query")}


def test_the_mean_of_each_set_is_taken_from_its_features(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    plain = features(built(SMALL, data_dir=synthetic_omniglot))
    centred = features(built({**SMALL, **CENTRED}, data_dir=synthetic_omniglot))
    for name, found in plain.items():
        torch.testing.assert_close(centred[name], found - found.mean(1, keepdim=True), rtol=1e-12, atol=1e-12)
        assert found.mean(1).abs().max() > 0.1


def test_with_cross_fitting_every_set_is_centred_alone(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    found = features(built({**SMALL, **CENTRED, **CROSSED}, data_dir=synthetic_omniglot))
    support, query = found["support"], found["query"]
    torch.testing.assert_close(support.mean(1), torch.zeros_like(support.mean(1)), rtol=0, atol=1e-12)
    pieces = query.view(6, 3, 2, 2, -1)  # tasks by support sets, classes, other sets, examples
    torch.testing.assert_close(pieces.mean((1, 3)), torch.zeros_like(pieces.mean((1, 3))), rtol=0, atol=1e-12)


def test_what_only_pads_a_set_is_not_in_its_mean(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    made = built({**SMALL, **RAGGED, **CENTRED}, data_dir=synthetic_omniglot)
    plain = features(built({**SMALL, **RAGGED}, data_dir=synthetic_omniglot))
    stated, _ = made.instance.at(0)
    assert stated.tasks is not None
    assert isinstance(stated.tasks.data, dict)
    ways = stated.tasks.data["ways"]
    assert isinstance(ways, Tensor)
    assert len(set(ways.tolist())) > 1
    for name, each in (("support", 2), ("query", 4)):
        for way, before, after in zip(ways.tolist(), plain[name], features(made)[name], strict=True):
            there = before[: way * each]
            torch.testing.assert_close(after[: way * each], there - there.mean(0), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(after[way * each :], before[way * each :], rtol=0, atol=0)


@pytest.mark.parametrize("extra", [{}, CROSSED], ids=str)
@pytest.mark.parametrize("problem", [SMALL, SMOOTH], ids=lambda p: p["model"]["kind"])
def test_the_dual_walk_and_chunks_are_the_plain_formulation(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, problem: dict[str, Any], extra: Any
) -> None:
    problem = {**problem, **CENTRED, **extra}
    assert walks_in_dual(Experiment.model_validate({"problem": problem, "algorithm": STEPS}))
    unrolled = {**STEPS, "hypergradient": {"kind": "unrolled"}}
    plain = hypergradient(problem, unrolled, data_dir=synthetic_omniglot)
    for same in (problem, {**problem, "task_chunk": 1}):
        found = hypergradient(same, STEPS, data_dir=synthetic_omniglot)
        assert trees.norm(trees.subtract(found.grad, plain.grad)) <= 1e-9 * trees.norm(plain.grad)


def test_heads_do_not_see_what_all_features_of_a_set_have_in_common(
    built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    """The last offsets, for images of which every feature is far above 0, move the plain evaluation alone."""

    def losses(problem: dict[str, Any], offset: float) -> list[float]:
        made = built(problem, STEPS, data_dir=synthetic_omniglot, evaluation={"episodes": 6})
        lam = trees.map_leaves(torch.clone, made.instance.initial)
        last = network(lam)[-1]  # type: ignore[index]
        last["offset"] += offset  # type: ignore[index]
        return [metrics["loss"].mean for metrics in made.instance.evaluate(lam)]

    assert losses({**SMALL, **CENTRED}, 20) == pytest.approx(losses({**SMALL, **CENTRED}, 50), rel=1e-9)
    assert losses(SMALL, 20) != pytest.approx(losses(SMALL, 50), rel=1e-3)


@pytest.mark.parametrize("shape", [{}, {"way_from": 2}, {"task_chunk": 3}])
def test_a_gpu_is_shown_the_same_episodes_several_draws_at_a_time(
    built: Callable[..., Built], synthetic_omniglot: Path, monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any]
) -> None:
    """Three draws and a part of one, whole or in chunks, which bound the images of a pass whatever the device."""
    monkeypatch.setattr(sampling, "images_at_once", lambda dataset: 2 * 5 * (1 + 3))
    monkeypatch.setattr(few_shot_problems, "images_at_once", lambda dataset: 2 * 5 * (1 + 3))
    problem = {**SMALL, "way": 5, "shot": 1, "query": 3, "meta_batch": 4, **shape}
    made = built(problem, STEPS, data_dir=synthetic_omniglot, evaluation={"episodes": 7})
    few = made.instance.at.__self__  # type: ignore[attr-defined]
    alone = few.scoring().evaluate(made.instance.initial), joined(list(few.sampling.evaluation("test")))
    for module in (sampling, few_shot_problems):
        monkeypatch.setattr(module, "at_a_time", lambda device: 3)
    scoring, passes = few.scoring(), list[int]()
    pieces = list(few.sampling.evaluation("test", scoring.together))
    assert [len(piece.support) for piece in pieces] == ([3, 3, 1] if shape.get("task_chunk") else [6, 1])
    for found, expected in zip(joined(pieces), alone[1], strict=True):
        assert (found is None) == (expected is None)
        assert found is None or torch.equal(found, expected)

    def watched(lam: Tree, images: Tensor, sets: Any) -> Tensor:
        passes.append(len(images))
        return images.flatten(1)

    scoring.of_all(made.instance.initial, "test", watched)
    assert max(passes) == (3 * 20 if shape.get("task_chunk") else 3 * 40)
    for metrics, expected in zip(scoring.evaluate(made.instance.initial), alone[0], strict=True):
        for name, metric in metrics.items():
            assert metric.mean == pytest.approx(expected[name].mean, rel=1e-9)


def test_an_evaluation_averages_reflections(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    """The two accuracies and the loss, against episodes that are embedded twice here; meta-training is as it was."""
    problem = {**SMALL, "average_reflections": True}
    made = built(problem, STEPS, data_dir=synthetic_omniglot, evaluation={"episodes": 5})
    plain = built(SMALL, STEPS, data_dir=synthetic_omniglot, evaluation={"episodes": 5})
    lam = made.instance.initial
    few_shot = made.instance.at.__self__  # type: ignore[attr-defined]
    assert isinstance(few_shot, FewShot)
    scoring = few_shot.scoring()

    def by_hand(episodes: Episodes) -> tuple[Tensor, Tensor]:
        mirrored = episodes._replace(support=episodes.support.flip(-1), query=episodes.query.flip(-1))
        net = scoring.network
        both = [net.embed(lam, each.sets(), net.batch) for each in (episodes, mirrored)]
        z: Tree = {name: (both[0][name] + both[1][name]) / 2 for name in both[0]} | few_shot.inner.carried(lam)  # type: ignore[operator]
        return scoring.heads.score(few_shot.inner.solve(*scoring.heads.state(few_shot.inner), z), z)

    parts = [by_hand(episodes) for episodes in few_shot.sampling.evaluation("test")]
    accuracy, loss = (torch.cat(values).mean() for values in zip(*parts, strict=True))
    found, before = made.instance.evaluate(lam).test, plain.instance.evaluate(lam).test
    assert found["accuracy_batch_statistics"].mean == pytest.approx(float(accuracy), rel=1e-12)
    assert found["loss"].mean == pytest.approx(float(loss), rel=1e-9)
    assert found["loss"].mean != pytest.approx(before["loss"].mean, rel=1e-6)
    assert found["accuracy_running_statistics"] != before["accuracy_running_statistics"]
    assert features(made)["query"].equal(features(plain)["query"])


@pytest.mark.parametrize("more", [{}, CENTRED, {"average_reflections": True}])
def test_images_that_episodes_share_have_features_once(
    more: dict[str, Any], built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    """The accuracy with running statistics, against episodes that are embedded one by one here."""
    made = built({**SMALL, **more, "query": 14}, STEPS, data_dir=synthetic_omniglot, evaluation={"episodes": 300})
    lam, few_shot = made.instance.initial, made.instance.at.__self__  # type: ignore[attr-defined]
    scoring = few_shot.scoring()
    assert scoring.repeats("validation")
    assert not scoring.repeats("test")
    running = scoring.network.running(lam, scoring.sampling.images("train"), scoring.problem.dataset)
    each = averaged(running) if scoring.average_reflections else running
    parts = [scoring.fit_and_score(lam, some, each) for some in scoring.sampling.evaluation("validation")]
    found = made.instance.evaluate(lam).validation["accuracy_running_statistics"].mean
    assert found == pytest.approx(float(torch.cat([accuracy for accuracy, _ in parts]).mean()), rel=1e-12)


def test_averaged_features_are_those_of_the_mirror_image_too() -> None:
    images = torch.rand(4, 1, 3, 5, dtype=torch.float64)
    weights = torch.rand(15, 2, dtype=torch.float64)
    both = averaged(lambda lam, images, sets: images.flatten(1) @ weights)
    sets: Any = None
    torch.testing.assert_close(both({}, images, sets), both({}, images.flip(-1), sets), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        both({}, images, sets), (images + images.flip(-1)).flatten(1) / 2 @ weights, rtol=1e-12, atol=0
    )
