"""The three few-shot problems on colour images of 84x84 and within alphabets, with every network: one sampling code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built
from core.datasets import class_images
from core.datasets.class_sets import ClassImages
from core.problems import sampling
from core.spec import Experiment
from core.spec.datasets import MiniImagenet
from core.spec.sizes import inner_variables, outer_variables
from tests.core.problems.conftest import Slope

SIZES: dict[str, Any] = {"way": 3, "shot": 1, "query": 2}
PROBLEMS: dict[str, dict[str, Any]] = {
    "hyper_representation": {"kind": "hyper_representation", "meta_batch": 2},
    "ridge": {"kind": "hyper_representation", "meta_batch": 2, "heads": {"kind": "ridge"}},
    "crossed": {"kind": "hyper_representation", "meta_batch": 2, "cross_fitting": True},
    "prototypes": {"kind": "hyper_representation", "meta_batch": 2, "heads": {"kind": "prototypes"}},
    "multiclass_transfer": {"kind": "multiclass_transfer", "batch": 5},
    "initialization": {"kind": "initialization", "meta_batch": 2},
    "anil": {"kind": "initialization", "meta_batch": 2, "adapt": "head"},
}
MODELS: dict[str, dict[str, Any]] = {
    "conv4": {"kind": "conv4", "filters": 2, "downsample": "max_pool"},
    "residual": {"kind": "residual", "blocks": [2, 5], "hidden": 3, "features": 4},
    "mlp": {"kind": "mlp", "hidden": [2]},
}
DATASETS: dict[str, dict[str, Any]] = {
    "mini_imagenet": {"kind": "mini_imagenet"},
    "alphabets": {"kind": "omniglot", "split": "alphabets"},
}
STEPS = {"steps": 2, "dynamics": {"kind": "gradient_descent", "rate": 0.01}}


@pytest.fixture(scope="module")
def different_characters(synthetic_alphabets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The alphabets with characters that differ, and images of them that do."""
    folder, generator = tmp_path_factory.mktemp("characters"), np.random.default_rng(0)
    with np.load(synthetic_alphabets / "omniglot-28.npz") as file:
        arrays = dict(file)
    arrays["images"][:, :, 20:] = 60 * generator.integers(0, 2, (1623, 1, 8, 28)) + generator.integers(
        0, 40, (1623, 20, 8, 28)
    )
    np.savez(folder / "omniglot-28.npz", **arrays)
    return folder


@pytest.fixture
def folder(different_characters: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder for both, miniImageNet as if it had few classes of four noisy images."""
    counts = (6, 4, 5)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(256, (count, 4, 3, 84, 84), dtype=torch.uint8, generator=generator) for count in counts]
    monkeypatch.setattr(MiniImagenet, "class_counts", lambda self: counts)
    monkeypatch.setattr(MiniImagenet, "images_per_class", 4)
    monkeypatch.setattr(class_images, "load_mini_imagenet", lambda dataset, *, data_dir: ClassImages(*drawn))
    return different_characters


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_hyperiteration_and_an_evaluation(
    built: Callable[..., Built], folder: Path, name: str, dataset: str, model: str
) -> None:
    problem = {**PROBLEMS[name], **SIZES, "dataset": DATASETS[dataset], "model": MODELS[model]}
    made = built(problem, STEPS, data_dir=folder, evaluation={"episodes": 3})
    spec = Experiment.model_validate({"problem": problem, "algorithm": STEPS})
    initial = made.instance.initial
    assert len(trees.ravel(initial)[0]) == outer_variables(spec.problem, spec.algorithm)
    stated, _ = made.instance.at(0)
    z = initial if stated.embed is None else stated.embed(initial)
    assert len(trees.ravel(stated.init(z))[0]) == inner_variables(spec.problem)
    state, series = made.algorithm.step(0, made.algorithm.init(initial))
    assert series["hypergradient_norm"].isfinite()
    assert trees.norm(trees.subtract(state.lam, initial)) > 0
    for metrics in made.instance.evaluate(state.lam):
        assert {"accuracy", "loss"} <= set(metrics)
        assert all(0 <= metrics[part].mean < 1e3 for part in ("accuracy", "loss"))
    assert made.instance.evaluate(state.lam) == made.instance.evaluate(state.lam)


SMOOTH = {"kind": "mlp", "hidden": [3], "activation": "tanh"}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_hypergradients_are_slopes(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Slope,
    direction: Callable[[Tree], Tree],
    folder: Path,
    name: str,
    dataset: str,
) -> None:
    problem = {**PROBLEMS[name], **SIZES, "dataset": DATASETS[dataset], "model": SMOOTH}
    found = hypergradient(problem, STEPS, data_dir=folder)
    instance = built(problem, STEPS, data_dir=folder).instance
    along = direction(instance.initial)
    expected = slope(*instance.at(0), instance.initial, along, 2)
    assert float(trees.dot(found.grad, along)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", ["hyper_representation", "multiclass_transfer", "initialization"])
def test_every_task_is_within_one_alphabet(
    built: Callable[..., Built], synthetic_alphabets: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Evaluations of all problems and meta-batches of those that have them, which the images' ink tells."""
    seen = []
    problem = {**PROBLEMS[name], **SIZES, "dataset": DATASETS["alphabets"], "model": MODELS["mlp"]}
    made = built(problem, STEPS, data_dir=synthetic_alphabets, evaluation={"episodes": 12})
    plain = sampling.sample_episodes

    def watched(*arguments: Any, **knobs: Any) -> Any:
        seen.append(plain(*arguments, **knobs))
        return seen[-1]

    monkeypatch.setattr(sampling, "sample_episodes", watched)
    made.instance.evaluate(made.instance.initial)
    made.instance.at(0)
    assert len(seen) == (2 if name == "multiclass_transfer" else 3)
    for episodes in seen:
        marks = (episodes.support.amax((-1, -2, -3)) * 255).round().long()
        assert (marks == marks[:, :1]).all()
        assert len(set(marks[:, 0].tolist())) > 1


@pytest.mark.parametrize("name", ["hyper_representation", "multiclass_transfer", "initialization"])
@pytest.mark.parametrize("change", [{"reflections": True}, {"smallest_crop": 0.5}, {"colours": 0.4}])
def test_images_are_changed_in_meta_training_alone(
    built: Callable[..., Built], folder: Path, name: str, change: dict[str, Any]
) -> None:
    def found(**dataset: Any) -> tuple[Any, Any]:
        problem = {**PROBLEMS[name], **SIZES, "dataset": {"kind": "mini_imagenet", **dataset}, "model": MODELS["mlp"]}
        made = built(problem, STEPS, data_dir=folder, evaluation={"episodes": 3})
        _, series = made.algorithm.step(0, made.algorithm.init(made.instance.initial))
        return made.instance.evaluate(made.instance.initial), series["outer_objective"]

    (plain, loss), (same, changed) = found(), found(**change)
    assert same == plain
    assert changed != loss
