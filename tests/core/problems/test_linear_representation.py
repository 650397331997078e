"""The effect of T: the factored problem is the plain one, T steps tend to the closed form, and the learned features of
another experiment are what its network makes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.dynamics import full_batch, gradient_descent, heavy_ball
from core.bilevel.hypergradients import exact, unrolled
from core.bilevel.problem import Hypergradient, Problem, Tree
from core.bilevel.randomness import stream
from core.build import Built, build, build_representation, make_context
from core.checkpointing import MemoryCheckpoints
from core.datasets.episodes import sample_episodes
from core.datasets.omniglot import load_omniglot
from core.datasets.splits import Split
from core.errors import DataInvalid, ReferenceInvalid
from core.problems import class_features, hyper_representation
from core.problems.artifacts import Artifact, MemoryArtifacts, learned
from core.problems.few_shot import network, representative
from core.problems.sampling import Sampling, sampling
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
from core.spec.problems import HyperRepresentation, LinearRepresentation

SMALL: dict[str, Any] = {
    "kind": "linear_representation",
    "features": {"kind": "pixels", "size": 6},
    "classes": 5,
    "test": 4,
    "strength": 0.1,
}
WIDE: dict[str, Any] = {**SMALL, "dimension": 4, "initial": "glorot"}
GD: dict[str, Any] = {"kind": "gradient_descent", "rate": 0.5}
HEAVY: dict[str, Any] = {"kind": "heavy_ball", "rate": 0.5, "momentum": 0.6}


def split_of(problem: dict[str, Any], data_dir: Path) -> Split:
    """The features in float64."""
    spec = Experiment.model_validate({"problem": problem, "resources": {"precision": "float64"}})
    assert isinstance(spec.problem, LinearRepresentation)
    context = make_context(spec, device="cpu", data_dir=data_dir)
    return class_features.load(spec.problem, context, None, None)


def plain(split: Split, classes: int, strength: float) -> Problem:
    """Through the examples, with nothing factored."""
    (x, y), (vx, vy), _ = split
    targets, desired = torch.eye(classes, dtype=x.dtype)[y], torch.eye(classes, dtype=x.dtype)[vy]

    def inner(w: Any, lam: Any) -> Tensor:
        residual = x @ lam["H"].T @ w.T - targets
        return 0.5 * residual.square().sum() / len(x) + 0.5 * strength * w.square().sum()

    def outer(w: Any, lam: Any) -> Tensor:
        return 0.5 * (vx @ lam["H"].T @ w.T - desired).square().sum() / len(vx)

    def solution(lam: Any) -> Tensor:
        features = x @ lam["H"].T
        kernel = features @ features.T + len(x) * strength * torch.eye(len(x), dtype=x.dtype)
        return torch.linalg.solve(kernel, targets).T @ features  # through the n x n kernel: another formula

    return Problem(inner, outer, lambda lam: lam["H"].new_zeros(classes, len(lam["H"])), solution)


@pytest.mark.parametrize("problem", [SMALL, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("dynamics", [GD, HEAVY], ids=lambda dynamics: str(dynamics["kind"]))
def test_the_factored_problem_is_the_plain_one(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    synthetic_omniglot: Path,
    problem: dict[str, Any],
    dynamics: dict[str, Any],
) -> None:
    algorithm = {"steps": 7, "dynamics": dynamics}
    instance = built(problem, algorithm, data_dir=synthetic_omniglot).instance
    stated = plain(split_of(problem, synthetic_omniglot), 5, 0.1)
    steps = full_batch(stated.inner)
    phi = (
        gradient_descent(steps, stated.init, rate=0.5)
        if dynamics is GD
        else heavy_ball(steps, stated.init, rate=0.5, momentum=0.6)
    )
    expected = unrolled(stated, phi, instance.initial, steps=7)
    for method in ({"kind": "reverse"}, {"kind": "unrolled"}, {"kind": "forward"}):
        chosen = {**algorithm, "hypergradient": method}
        found = hypergradient(problem, chosen, data_dir=synthetic_omniglot)
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(found.outer_loss, expected.outer_loss, rtol=1e-12, atol=0)
        for name, value in expected.diagnostics.items():
            torch.testing.assert_close(found.diagnostics[name], value, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("problem", [SMALL, WIDE], ids=["square", "wide"])
def test_exact_differentiates_the_closed_form(
    built: Callable[..., Built], hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, problem: Any
) -> None:
    algorithm = {"hypergradient": {"kind": "exact"}}
    instance = built(problem, algorithm, data_dir=synthetic_omniglot).instance
    stated = plain(split_of(problem, synthetic_omniglot), 5, 0.1)
    unused = gradient_descent(full_batch(stated.inner), stated.init, rate=0.5)
    expected = exact(stated, unused, instance.initial, steps=1)
    found = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-9, atol=1e-12)
    assert found.diagnostics["inner_gradient_norm"] < 1e-12


@pytest.mark.parametrize("dynamics", [GD, HEAVY, {"kind": "nesterov", "rate": 0.5, "momentum": 0.6}])
def test_many_steps_tend_to_the_closed_form(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, dynamics: dict[str, Any]
) -> None:
    def grad(steps: int, method: str) -> Tree:
        algorithm = {"steps": steps, "dynamics": dynamics, "hypergradient": {"kind": method}}
        return hypergradient(SMALL, algorithm, data_dir=synthetic_omniglot).grad

    limit = grad(1, "exact")
    errors = [float(trees.norm(trees.subtract(grad(steps, "reverse"), limit))) for steps in (4, 16, 64, 256)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6 * float(trees.norm(limit))


@pytest.mark.parametrize("method", ["reverse", "implicit", "exact"])
def test_hypergradients_are_finite_differences(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Callable[..., float],
    direction: Callable[[Tree], Tree],
    synthetic_omniglot: Path,
    method: str,
) -> None:
    steps = 6 if method == "reverse" else 300
    algorithm = {"steps": steps, "dynamics": GD, "hypergradient": {"kind": method}}
    instance = built(WIDE, algorithm, data_dir=synthetic_omniglot).instance
    along = direction(instance.initial)
    expected = slope(*instance.at(0), instance.initial, along, steps)
    grad = hypergradient(WIDE, algorithm, data_dir=synthetic_omniglot).grad
    assert float(trees.dot(grad, along)) == pytest.approx(expected, rel=1e-5)


def test_a_learned_rate_goes_along(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Callable[..., float],
    synthetic_omniglot: Path,
) -> None:
    algorithm = {"steps": 5, "dynamics": {**GD, "learn_rate": True}}
    instance = built(SMALL, algorithm, data_dir=synthetic_omniglot).instance
    rate: Tree = {"H": torch.zeros(6, 6, dtype=torch.float64), "log_rate": torch.ones((), dtype=torch.float64)}
    found: Any = hypergradient(SMALL, algorithm, data_dir=synthetic_omniglot).grad
    expected = slope(*instance.at(0), instance.initial, rate, 5)
    assert float(found["log_rate"]) == pytest.approx(expected, rel=1e-5)


def test_the_outer_objective_is_the_validation_loss(
    built: Callable[..., Built], hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path
) -> None:
    algorithm = {"steps": 5, "dynamics": GD}
    instance = built(SMALL, algorithm, data_dir=synthetic_omniglot).instance
    found = hypergradient(SMALL, algorithm, data_dir=synthetic_omniglot)
    scores = instance.evaluate(instance.initial)
    assert scores.validation["loss"].mean == pytest.approx(float(found.outer_loss), rel=1e-12)
    assert (scores.validation["accuracy"].size, scores.test["accuracy"].size) == (15, 20)
    assert instance.report(instance.initial)["closed_form"].keys() == {"train", "validation", "test"}


class TestFeatures:
    def test_sets_are_disjoint_examples_of_the_same_classes(self, synthetic_omniglot: Path) -> None:
        raw = {**SMALL, "features": {"kind": "pixels", "size": 784}}
        train, validation, test = split_of(raw, synthetic_omniglot)
        assert [len(part.x) for part in (train, validation, test)] == [15, 15, 20]
        assert train.y.tolist() == validation.y.tolist() == [i for i in range(5) for _ in range(3)]
        every = torch.cat([train.x, validation.x, test.x])
        assert len(every.unique(dim=0)) == 50
        assert float(torch.cdist(every, every).fill_diagonal_(9).argmin(1).lt(50).double().mean()) == 1
        centres = torch.stack([train.x[train.y == label].mean(0) for label in range(5)])
        assert torch.equal(torch.cdist(test.x, centres).argmin(1), test.y), "the same characters"

    def test_features_are_centred_with_mean_square_norm_1_on_the_training_set(self, synthetic_omniglot: Path) -> None:
        train = split_of(SMALL, synthetic_omniglot).train.x
        torch.testing.assert_close(train.mean(0), torch.zeros(6, dtype=torch.float64))
        assert float(train.square().sum(1).mean()) == pytest.approx(1, rel=1e-12)

    def test_a_projection_is_of_the_raw_pixels(self, synthetic_omniglot: Path) -> None:
        raw = split_of({**SMALL, "features": {"kind": "pixels", "size": 784}}, synthetic_omniglot)
        projected = split_of({**SMALL, "features": {"kind": "pixels", "size": 300}}, synthetic_omniglot)
        distances = [torch.pdist(part.test.x) for part in (raw, projected)]
        assert float(torch.corrcoef(torch.stack(distances))[0, 1]) > 0.8  # Johnson and Lindenstrauss 1984


FEW_SHOT = {"kind": "hyper_representation", "model": {"kind": "conv4", "filters": 3}, "query": 2, "meta_batch": 2}
ID = "0b86f29c-5e12-4f37-9c0e-6c1f1a0ce9a1"
SOURCE: dict[str, Any] = {
    "problem": FEW_SHOT,
    "algorithm": {"steps": 2, "hyperiterations": 2, "dynamics": {**GD, "rate": 0.02, "learn_rate": True}},
    "evaluation": {"episodes": 2},
    "seed": 7,
}
LEARNED: dict[str, Any] = {**SMALL, "features": {"kind": "experiment", "experiment": ID, "size": 12}}
FILE = "outer_variables.safetensors"


def finish(spec: Experiment, data_dir: Path, **knobs: Any) -> Finished:
    recorder, checkpoints = MemoryRecorder(), knobs.pop("checkpoints", MemoryCheckpoints())
    done = run(spec, device="cpu", data_dir=data_dir, recorder=recorder, checkpoints=checkpoints, **knobs)
    assert isinstance(done, Finished)
    return done


@pytest.fixture(scope="session")
def artifacts(synthetic_omniglot: Path) -> MemoryArtifacts:
    """What a few-shot experiment has left behind."""
    spec = Experiment.model_validate(SOURCE)
    content = finish(spec, synthetic_omniglot).artifacts[FILE][1]
    return MemoryArtifacts({(ID, FILE): Artifact(spec, content)})


def described(problem: dict[str, Any], **rest: Any) -> Experiment:
    algorithm = {"steps": 3, "hyperiterations": 4, "dynamics": GD, "optimizer": {"kind": "momentum", "rate": 1.0}}
    return Experiment.model_validate({"problem": problem, "algorithm": algorithm, **rest})


def test_learned_features_are_those_of_the_network_on_unseen_characters(
    artifacts: MemoryArtifacts, synthetic_omniglot: Path
) -> None:
    spec = described(LEARNED, resources={"precision": "float64"})
    assert isinstance(spec.problem, LinearRepresentation)
    context = make_context(spec, device="cpu", data_dir=synthetic_omniglot, artifacts=artifacts)
    source = learned(spec.problem, artifacts)
    assert source is not None
    model = build_representation(source.problem.model, source.problem.dataset, torch.float64)
    found = class_features.load(spec.problem, context, source, model)

    images = load_omniglot(spec.problem.dataset, seed=7, data_dir=synthetic_omniglot)  # split by the source's seed
    knobs: dict[str, Any] = {"generator": stream(spec.seed, "characters"), "dtype": torch.float64}
    drawn = sample_episodes(images.test, way=5, shot=3, query=7, count=1, **knobs)
    parameters = context.place(source.parameters(model.init(torch.Generator())))
    statistics = model.statistics(parameters, representative(images.train, source.problem.dataset, 7, context))
    raw = model.apply_with(parameters, drawn.support[0], statistics)
    centred = raw - raw.mean(0)
    torch.testing.assert_close(found.train.x, centred / centred.square().sum(1).mean().sqrt())
    assert found.test.x.shape == (20, 12)


def test_the_split_is_that_of_the_first_of_a_chain_of_starts(artifacts: MemoryArtifacts) -> None:
    later = "7d3c1a52-0000-4000-8000-000000000002"
    source, content = artifacts[ID, FILE]
    start = {"kind": "experiment", "experiment": ID}
    second = Experiment.model_validate({"seed": source.seed + 1, "problem": {**FEW_SHOT, "start": start}})
    chain = MemoryArtifacts({(ID, FILE): Artifact(source, content), (later, FILE): Artifact(second, content)})
    spec = described({**LEARNED, "features": {**LEARNED["features"], "experiment": later}})
    found = learned(spec.problem, chain)
    assert found is not None
    assert found.seed == source.seed != second.seed


@pytest.mark.parametrize("problem", [LEARNED, {**FEW_SHOT, "start": {"kind": "experiment", "experiment": ID}}])
def test_a_run_on_another_experiments_file_resumes_to_the_bit(
    artifacts: MemoryArtifacts, synthetic_omniglot: Path, problem: dict[str, Any]
) -> None:
    spec = described(problem, evaluation={"episodes": 2, "every": 1})
    kept = MemoryCheckpoints()
    whole = finish(spec, synthetic_omniglot, artifacts=artifacts, checkpoints=kept, checkpoint_seconds=0.0)
    for checkpoint in kept.saved:
        resumed = MemoryCheckpoints()
        resumed.save(checkpoint)
        rest = finish(spec, synthetic_omniglot, artifacts=artifacts, checkpoints=resumed)
        assert rest.artifacts == whole.artifacts
        assert rest.result["final"] == whole.result["final"]
    assert len(kept.saved) == 5


def test_it_starts_where_the_other_one_ended(artifacts: MemoryArtifacts, synthetic_omniglot: Path) -> None:
    spec = described({**FEW_SHOT, "start": {"kind": "experiment", "experiment": ID}})
    instance = build(spec, device="cpu", data_dir=synthetic_omniglot, artifacts=artifacts).instance
    best = safetensors.torch.load(artifacts[ID, FILE].content)
    found = trees.named_leaves({"representation": network(instance.initial)})
    assert found.keys() == best.keys() - {"log_rate"}
    assert all(torch.equal(found[name], best[name]) for name in found)


def test_it_keeps_the_others_division_of_the_characters(
    artifacts: MemoryArtifacts, synthetic_omniglot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a division by its own seed it would be tested on characters that the representation was trained on."""
    drawn: list[Sampling] = []

    def seen(*arguments: Any, **knobs: Any) -> Sampling:
        drawn.append(sampling(*arguments, **knobs))
        return drawn[-1]

    monkeypatch.setattr(hyper_representation, "sampling", seen)
    spec = described({**FEW_SHOT, "start": {"kind": "experiment", "experiment": ID}}, seed=3)
    build(spec, device="cpu", data_dir=synthetic_omniglot, artifacts=artifacts)
    assert isinstance(spec.problem, HyperRepresentation)
    for part in ("train", "validation", "test"):
        expected, other = (
            getattr(load_omniglot(spec.problem.dataset, seed=seed, data_dir=synthetic_omniglot), part)
            for seed in (7, 3)
        )
        assert torch.equal(getattr(drawn[0].loaded.images, part), expected)
        assert not torch.equal(expected, other)


@pytest.mark.parametrize(
    ("changes", "pointer", "remedy"),
    [
        ({"features": {**LEARNED["features"], "size": 13}}, "/problem/features/size", "set `size` to 12"),
        ({"dataset": {"kind": "omniglot", "rotations": False}}, "/problem/dataset", "give the same data set"),
    ],
)
def test_an_experiment_that_does_not_fit_is_refused(
    artifacts: MemoryArtifacts, synthetic_omniglot: Path, changes: dict[str, Any], pointer: str, remedy: str
) -> None:
    with pytest.raises(ReferenceInvalid, match=remedy) as caught:
        build(described({**LEARNED, **changes}), device="cpu", data_dir=synthetic_omniglot, artifacts=artifacts)
    assert caught.value.pointer == pointer


def test_another_model_or_kind_of_experiment_is_refused(artifacts: MemoryArtifacts, synthetic_omniglot: Path) -> None:
    start = {"kind": "experiment", "experiment": ID}
    other = described({**FEW_SHOT, "model": {"kind": "conv4", "filters": 4}, "start": start})
    with pytest.raises(ReferenceInvalid, match="give the same model"):
        build(other, device="cpu", data_dir=synthetic_omniglot, artifacts=artifacts)
    toy = Artifact(Experiment.model_validate({"problem": {"kind": "quadratic"}}), b"")
    with pytest.raises(ReferenceInvalid, match="of the kind `quadratic`"):
        build(
            described(LEARNED), device="cpu", data_dir=synthetic_omniglot, artifacts=MemoryArtifacts({(ID, FILE): toy})
        )


def test_a_file_without_the_networks_parameters_is_refused(
    artifacts: MemoryArtifacts, synthetic_omniglot: Path
) -> None:
    spec = artifacts[ID, FILE].spec
    for content in (b"nothing", safetensors.torch.save({"representation/0/weight": torch.zeros(2)})):
        damaged = MemoryArtifacts({(ID, FILE): Artifact(spec, content)})
        with pytest.raises(DataInvalid, match="does not hold the parameters"):
            build(described(LEARNED), device="cpu", data_dir=synthetic_omniglot, artifacts=damaged)


def test_a_run_on_its_own_says_where_to_submit_it(synthetic_omniglot: Path) -> None:
    with pytest.raises(ReferenceInvalid, match="submit it there"):
        build(described(LEARNED), device="cpu", data_dir=synthetic_omniglot)
    with pytest.raises(ReferenceInvalid, match="there is no"):
        build(described(LEARNED), device="cpu", data_dir=synthetic_omniglot, artifacts=MemoryArtifacts())
