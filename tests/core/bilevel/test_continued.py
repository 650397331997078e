"""Unrolls that go on, of a problem with an embedding: they are those of the problem that is stated in lam."""

from dataclasses import replace
from typing import Any

import torch

from core.bilevel import optimizers
from core.bilevel.algorithms import continued, nested
from core.bilevel.embedding import composed, through_embedding
from core.bilevel.hypergradients import reverse
from core.bilevel.problem import Dynamics, Problem, State, Tree, steady
from tests.core.bilevel.test_embedding import ridge_on_features


def moved(problem: Problem, phi: Dynamics, lam: Tree) -> Tree:
    methods = continued(steady(through_embedding(reverse)), unrolls=2)
    optimizer = optimizers.sgd(rate=optimizers.inverse_time(0.1))
    algorithm = nested(lambda k: (problem, phi), methods, optimizer, lambda lam: lam, steps=3)
    state = algorithm.init(lam)
    for k in range(5):
        state, _ = algorithm.step(k, state)
    return state.lam


def starting_from_features() -> tuple[Problem, Dynamics, Tree]:
    """Nothing in lam has the name that w_0 reads from z."""
    problem, phi, lam = ridge_on_features([])

    def init(z: Any) -> Tree:
        mean: Tree = z["train"].mean(0)[:, None]
        return mean

    return replace(problem, init=init), phi._replace(init=lambda z: State(init(z))), lam


def test_through_an_embedding_is_composed_with_it() -> None:
    problem, phi, lam = starting_from_features()
    torch.testing.assert_close(moved(problem, phi, lam), moved(*composed(problem, phi), lam), rtol=1e-10, atol=1e-12)
