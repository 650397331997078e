"""Averaged outer variables: the weighted mean of what the plain algorithm goes through, which they do not disturb."""

from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import given

from core.bilevel import optimizers, trees
from core.bilevel.algorithms import averaged
from core.bilevel.problem import Algorithm, AlgorithmState
from core.bilevel.randomness import stream


def wandering() -> Algorithm:
    """lam takes a random step at each hyperiteration, and remembers the last one."""

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Any]:
        moved = trees.map_leaves(
            lambda leaf: leaf + torch.randn(leaf.shape, generator=stream(0, "step", k), dtype=leaf.dtype), state.lam
        )
        return AlgorithmState(moved, trees.subtract(moved, state.lam)), {"seen": trees.norm(state.aux)}

    return Algorithm(lambda lam: AlgorithmState(lam, trees.zeros_like(lam)), step)


def walked(algorithm: Algorithm, steps: int) -> list[AlgorithmState]:
    states = [algorithm.init({"a": torch.ones(3, dtype=torch.float64), "b": torch.zeros(2, 2, dtype=torch.float64)})]
    for k in range(steps):
        states.append(algorithm.step(k, states[-1])[0])
    return states


@given(st.floats(0, 0.999), st.integers(1, 20))
def test_is_the_weighted_mean_of_all_but_the_first(decay: float, steps: int) -> None:
    algorithm = averaged(wandering(), decay=decay)
    assert algorithm.outer is not None
    state = walked(algorithm, steps)[-1]
    plain = walked(wandering(), steps)
    assert all(torch.equal(x, y) for x, y in zip(trees.leaves(state.lam), trees.leaves(plain[-1].lam), strict=True))
    weights = torch.tensor([decay ** (steps - i) for i in range(1, steps + 1)], dtype=torch.float64)
    for name, average in dict(algorithm.outer(state)).items():  # type: ignore[arg-type]
        passed = torch.stack([dict(each.lam)[name] for each in plain[1:]])  # type: ignore[arg-type]
        assert torch.allclose(average, torch.tensordot(weights / weights.sum(), passed, 1), rtol=1e-10, atol=1e-12)


def test_variables_that_come_in_another_order_are_averaged_by_name() -> None:
    plain = wandering()

    def turned(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Any]:
        after, series = plain.step(k, state)
        return after._replace(lam=dict(reversed(after.lam.items()))), series  # type: ignore[union-attr]

    expected, found = (averaged(each, decay=0.5) for each in (plain, plain._replace(step=turned)))
    assert expected.outer is not None
    assert found.outer is not None
    torch.testing.assert_close(found.outer(walked(found, 3)[-1]), expected.outer(walked(expected, 3)[-1]))


def test_before_the_first_step_it_is_where_it_starts() -> None:
    algorithm = averaged(wandering(), decay=0.9)
    state = walked(algorithm, 0)[0]
    assert algorithm.outer is not None
    assert algorithm.outer(state) is state.lam


def test_series_are_the_plain_ones() -> None:
    plain, algorithm = wandering(), averaged(wandering(), decay=0.9)
    ours, theirs = walked(algorithm, 3)[-1], walked(plain, 3)[-1]
    assert torch.equal(algorithm.step(3, ours)[1]["seen"], plain.step(3, theirs)[1]["seen"])


def test_lowers_the_noise_of_a_random_gradient() -> None:
    """SGD on 1/2 ||lam||^2 with noise stays away from 0 by about rate / 2; its average comes closer."""
    optimizer = optimizers.sgd(rate=optimizers.inverse_time(0.5))

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Any]:
        assert isinstance(state.lam, torch.Tensor)
        noise = torch.randn(50, generator=stream(1, "noise", k), dtype=torch.float64)
        lam, _ = optimizer.step(k, state.lam + noise, (), state.lam)
        return AlgorithmState(lam), {}

    algorithm = averaged(Algorithm(AlgorithmState, step), decay=0.98)
    state = algorithm.init(torch.zeros(50, dtype=torch.float64))
    for k in range(300):
        state, _ = algorithm.step(k, state)
    assert algorithm.outer is not None
    assert trees.norm(algorithm.outer(state)) < 0.4 * trees.norm(state.lam)
