"""Cross-fitting: the problem is the mean over its tasks with their sets in every order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.embedding import through_embedding
from core.bilevel.hypergradients import unrolled
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built
from core.datasets.episodes import Episodes
from core.problems.cross_fitting import cut, in_turn
from core.spec import Experiment
from core.spec.shortcuts import walks_in_dual
from core.spec.sizes import inner_variables

SMALL: dict[str, Any] = {
    "kind": "hyper_representation",
    "model": {"kind": "mlp", "hidden": [6, 5]},
    "way": 3,
    "shot": 2,
    "query": 4,
    "meta_batch": 2,
}
CROSSED: dict[str, Any] = {**SMALL, "cross_fitting": True}
CONV: dict[str, Any] = {"model": {"kind": "conv4", "filters": 3}}
LEARNED = {"kind": "gradient_descent", "rate": 0.1, "learn_rate": True}


def numbered(tasks: int, way: int, shot: int, query: int) -> Episodes:
    """Images [1] that say which they are: 100 b + 10 class + number."""
    task, label = torch.arange(tasks).view(-1, 1, 1) * 100, torch.arange(way).view(1, -1, 1) * 10
    whole = (task + label + torch.arange(shot + query)).double()
    support, outer = whole[..., :shot].flatten(1), whole[..., shot:].flatten(1)
    labels = torch.arange(way)
    return Episodes(
        support[..., None], outer[..., None], labels.repeat_interleave(shot), labels.repeat_interleave(query)
    )


@pytest.mark.parametrize(("shot", "query"), [(1, 1), (1, 4), (2, 2), (2, 6)])
def test_each_set_is_the_support_set_once(shot: int, query: int) -> None:
    episodes, sets = numbered(3, 4, shot, query), 1 + query // shot
    pieces = cut(episodes, shot)
    assert pieces.shape == (3, sets, 4 * shot, 1)
    assert torch.equal(pieces[:, 0], episodes.support)
    found = in_turn(pieces, shot)
    support, outer = found["support"], found["query"]
    assert isinstance(support, Tensor)
    assert isinstance(outer, Tensor)
    assert outer.shape == (3 * sets, 4 * query, 1)
    assert torch.equal(outer[::sets], episodes.query)
    for row in range(3 * sets):
        task = numbered(3, 4, 0, shot + query).query[row // sets].flatten()
        mine, others = support[row].flatten(), outer[row].flatten()
        assert torch.equal(torch.cat([mine, others]).sort().values, task)
        assert torch.equal(mine // 10 % 10, episodes.support_labels.double())
        assert torch.equal(others // 10 % 10, episodes.query_labels.double())
    assert support.flatten().sort().values.equal(numbered(3, 4, 0, shot + query).query.flatten())


@pytest.mark.parametrize(
    "heads", [{"kind": "softmax"}, {"kind": "ridge"}, {"kind": "prototypes"}], ids=lambda h: h["kind"]
)
def test_it_is_the_mean_over_the_sets_in_turn(
    built: Callable[..., Built], synthetic_omniglot: Path, heads: dict[str, Any]
) -> None:
    """Against the plain problem on sets that were put in order here; a network without norms, which see the sets."""

    def found(problem: dict[str, Any], first: int) -> Hypergradient:
        algorithm = {"steps": 3, "dynamics": LEARNED, "hypergradient": {"kind": "unrolled"}}
        instance = built({**problem, "heads": heads}, algorithm, data_dir=synthetic_omniglot).instance
        stated, dynamics = instance.at(0)
        if not problem.get("cross_fitting"):
            assert stated.tasks is not None
            stated, dynamics = stated.tasks.state(rolled(stated.tasks.data, first))
        return through_embedding(unrolled)(stated, dynamics, instance.initial, steps=3)

    def rolled(data: Tree, first: int) -> Tree:
        """The same tasks, with examples 2 first, 2 first + 1 of each class as the support set."""
        assert isinstance(data, dict)
        support, query = data["support"], data["query"]
        assert isinstance(support, Tensor)
        assert isinstance(query, Tensor)
        whole = torch.cat([part.reshape(2, 3, -1, *part.shape[2:]) for part in (support, query)], 2).roll(-2 * first, 2)
        return {"support": whole[:, :, :2].flatten(1, 2), "query": whole[:, :, 2:].flatten(1, 2)}

    crossed, plain = found(CROSSED, 0), [found(SMALL, first) for first in range(3)]
    mean = trees.scale(1 / 3, trees.add(trees.add(plain[0].grad, plain[1].grad), plain[2].grad))
    assert trees.norm(trees.subtract(crossed.grad, mean)) <= 1e-12 * trees.norm(mean)
    losses = torch.stack([each.outer_loss for each in plain])
    torch.testing.assert_close(crossed.outer_loss, losses.mean(), rtol=1e-12, atol=0)
    assert trees.norm(trees.subtract(crossed.grad, plain[0].grad)) > 0.01 * trees.norm(mean)


@pytest.mark.parametrize("extra", [{}, CONV, {"l2": 0.3}, {"shot": 1, "query": 3}], ids=str)
def test_the_dual_walk_and_chunks_are_the_plain_formulation(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, extra: dict[str, Any]
) -> None:
    problem, algorithm = {**CROSSED, **extra}, {"steps": 4, "dynamics": LEARNED}
    assert walks_in_dual(Experiment.model_validate({"problem": problem, "algorithm": algorithm}))
    plain = hypergradient(problem, {**algorithm, "hypergradient": {"kind": "unrolled"}}, data_dir=synthetic_omniglot)
    for same in (problem, {**problem, "task_chunk": 1}):
        dual = hypergradient(same, algorithm, data_dir=synthetic_omniglot)
        assert trees.norm(trees.subtract(dual.grad, plain.grad)) <= 1e-9 * trees.norm(plain.grad)
        torch.testing.assert_close(dual.outer_loss, plain.outer_loss, rtol=1e-9, atol=0)
        torch.testing.assert_close(dual.state, plain.state, rtol=1e-9, atol=1e-12)


def test_norms_see_each_set_alone(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    """Features of a set are those of a support set of these images, whatever the other sets are."""
    instance = built({**CROSSED, **CONV}, data_dir=synthetic_omniglot).instance
    plain = built({**SMALL, **CONV}, data_dir=synthetic_omniglot).instance
    ours, theirs = features(instance), features(plain)
    torch.testing.assert_close(ours["support"][::3], theirs["support"], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(ours["query"][::3], theirs["query"])


def features(instance: Any) -> dict[str, Tensor]:
    """z of hyperiteration 0."""
    stated, _ = instance.at(0)
    z: dict[str, Tensor] = stated.embed(instance.initial)
    return z


def test_inner_variables_and_evaluations(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    """As many heads as sets; episodes of evaluations stay as they are."""
    plain, crossed = (Experiment.model_validate({"problem": problem}).problem for problem in (SMALL, CROSSED))
    assert inner_variables(crossed) == 3 * inner_variables(plain) == 3 * 2 * (5 + 1) * 3
    one, other = (
        built(problem, data_dir=synthetic_omniglot, evaluation={"episodes": 4}).instance for problem in (SMALL, CROSSED)
    )
    assert one.evaluate(one.initial) == other.evaluate(other.initial)
