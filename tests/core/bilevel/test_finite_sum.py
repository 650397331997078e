"""Blocks cut and order the examples; the mean of the oracles over blocks is that of all examples, exactly."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel import finite_sum, trees
from core.bilevel.algorithms.single_loop import Estimate, Estimator, Point, evaluated, moving_average, stochastic
from core.bilevel.algorithms.two_loop import neumann, randomized_neumann, warm_started
from core.bilevel.algorithms.variance_reduced import recursive, saga
from core.bilevel.finite_sum import Blocks, FiniteSum, Oracles, Rows, oracles
from core.bilevel.problem import Tree
from core.bilevel.randomness import stream

N, M, D = 5, 4, 3


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, Y, A, B = draw(N, D, seed=1), draw(N, seed=2), draw(M, D, seed=3), draw(M, seed=4)


def inner(w: Any, lam: Any, rows: Rows) -> Tensor:
    """A loss that is not quadratic, weights of features, and a weight of every example."""
    fit = torch.nn.functional.softplus(-Y[rows] * (X[rows] @ w["w"]))
    found: Tensor = (torch.sigmoid(lam["weights"][rows]) * fit).mean() + 0.5 * (
        lam["penalty"].exp() * w["w"] ** 2
    ).sum()
    return found


def outer(w: Any, lam: Any, rows: Rows) -> Tensor:
    found: Tensor = ((A[rows] @ w["w"] - B[rows]) ** 2).mean() + 0.1 * (lam["penalty"] ** 2).sum()
    return found


LAM: Any = {"penalty": draw(D, seed=5), "weights": draw(N, seed=6)}
SUM = FiniteSum(inner, outer, N, M, lambda lam: {"w": torch.zeros(D, dtype=torch.float64)})
POINT = Point({"w": draw(D, seed=7)}, {"w": draw(D, seed=8)}, LAM)


def ask(batch: int | None = 2) -> Oracles:
    return oracles(SUM, batch=batch, seed=0)


def mean(found: list[Tree]) -> Tree:
    total = found[0]
    for each in found[1:]:
        total = trees.add(total, each)
    scaled: Tree = trees.scale(1 / len(found), total)
    return scaled


def close(one: Tree, other: Tree) -> None:
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 200), st.integers(1, 250), st.integers(0, 2**31), st.integers(0, 30))
def test_blocks_cut_the_examples_and_every_pass_takes_each_once(n: int, batch: int, seed: int, role: int) -> None:
    blocks = Blocks(n, batch, seed, "test")
    rows = [list(range(n)[blocks.rows(block)]) for block in range(blocks.count)]
    assert [i for each in rows for i in each] == list(range(n))
    smallest, largest = min(map(len, rows)), max(map(len, rows))
    assert max(1, largest - 1) <= smallest <= largest <= batch
    assert sum(blocks.share(block) for block in range(blocks.count)) == pytest.approx(blocks.count)
    for first in (0, blocks.count):
        assert sorted(blocks.at(first + k, role) for k in range(blocks.count)) == list(range(blocks.count))


def test_the_order_depends_on_the_seed_the_pass_the_role_and_nothing_else() -> None:
    def order(seed: int = 0, role: int = 0, first: int = 0) -> list[int]:
        return [Blocks(64, 2, seed, "test").at(first + k, role) for k in range(32)]

    assert order() == order() == list(reversed([Blocks(64, 2, 0, "test").at(k) for k in reversed(range(32))]))
    assert len({tuple(each) for each in (order(), order(seed=1), order(role=1), order(first=32))}) == 4


def test_an_order_is_drawn_once_a_pass_and_role(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int | str, ...]] = []

    def counted(seed: int, *index: int | str) -> torch.Generator:
        drawn.append(index)
        return stream(seed, *index)

    monkeypatch.setattr(finite_sum, "stream", counted)
    blocks = Blocks(64, 2, 0, "test")
    for k in range(64):
        for role in range(3):
            blocks.at(k, role)
    assert sorted(drawn) == [("test", role, passed) for role in range(3) for passed in range(2)]


def test_the_mean_over_blocks_of_unequal_size_is_the_answer_for_all_examples() -> None:
    some = ask()
    assert [some.inner_blocks.rows(i) for i in range(3)] == [slice(0, 1), slice(1, 3), slice(3, 5)]
    every = [some.products(i, POINT.w, LAM, POINT.v) for i in range(3)]
    close(mean(list(every)), some.products(None, POINT.w, LAM, POINT.v))
    close(mean([some.outer_gradients(j, POINT.w, LAM) for j in range(2)]), some.outer_gradients(None, POINT.w, LAM))
    close(some.outer_gradient(1, POINT.w, LAM), some.outer_gradients(1, POINT.w, LAM).w)


def test_products_are_those_of_the_whole_derivative() -> None:
    some = ask()
    parts: Any = POINT
    w, v, lam = parts

    def gradient(w: Tensor, penalty: Tensor, weights: Tensor) -> Tensor:
        lam: Tree = {"penalty": penalty, "weights": weights}
        found: Tensor = some.inner_gradient(1, {"w": w}, lam)["w"]  # type: ignore[call-overload,index,assignment]
        return found

    at = (w["w"], lam["penalty"], lam["weights"])
    by_w, by_penalty, by_weights = torch.func.jacrev(gradient, argnums=(0, 1, 2))(*at)
    direction = v["w"]
    found = some.products(1, w, lam, v)
    close(found.gradient, {"w": gradient(*at)})
    close(found.hessian, {"w": by_w @ direction})
    close(found.cross, {"penalty": direction @ by_penalty, "weights": direction @ by_weights})
    close(some.hessian_product(1, w, lam, v), found.hessian)
    close(some.inner_gradients(1, w, lam)[0], found.gradient)


class Chosen(Blocks):
    """Blocks whose order is given."""

    order: tuple[int, ...] = ()

    def at(self, k: int, role: int = 0) -> int:
        return self.order[role]


def chosen(blocks: Blocks, *order: int) -> Blocks:
    made = Chosen(blocks.examples, blocks.batch, blocks.seed, blocks.purpose)
    object.__setattr__(made, "order", order)
    return made


def over_blocks(make: object, memory: Tree, k: int = 1) -> list[Estimate]:
    """The estimates of hyperiteration k for every pair of blocks."""
    some = ask()
    found = []
    for i, j in product(range(some.inner_blocks.count), range(some.outer_blocks.count)):
        picked = Oracles(SUM, chosen(some.inner_blocks, i), chosen(some.outer_blocks, j))
        found.append(make(picked).at(k, POINT, memory))  # type: ignore[operator]
    return found


def warmed(estimator: Estimator, steps: int) -> Tree:
    """What is remembered after a few hyperiterations elsewhere."""
    memory = estimator.init(POINT)
    for k in range(steps):
        moved = Point(*(trees.scale(1 + 0.1 * k, part) for part in POINT))
        memory = estimator.at(k, moved, memory).memory
    return memory


@pytest.mark.parametrize("steps", [0, 2, 7])
def test_soba_and_saba_estimate_without_bias_whatever_is_remembered(steps: int) -> None:
    full, value = evaluated(ask(), None, None, POINT)
    for make in (stochastic, saga):
        estimates = over_blocks(make, warmed(make(ask()), steps), steps)
        close(mean([each.directions for each in estimates]), full)
        close(mean([each.outer_objective for each in estimates]), value)


def test_ma_soba_averages_the_outer_direction_alone() -> None:
    full, _ = evaluated(ask(), None, None, POINT)
    before = trees.scale(3.0, LAM)
    estimates = over_blocks(lambda some: moving_average(some, weight=0.25), before)
    found = mean([each.directions for each in estimates])
    close(found, full._replace(lam=trees.axpy(0.25, full.lam, trees.scale(0.75, before))))


def test_srba_estimates_the_change_without_bias_and_is_exact_after_a_period() -> None:
    some = ask()
    old = Point(*(trees.scale(0.9, part) for part in POINT))
    memory: Tree = {"point": old, "directions": evaluated(some, None, None, old)[0]}
    estimates = over_blocks(lambda picked: recursive(picked, period=3), memory)
    full = evaluated(some, None, None, POINT)[0]
    close(mean([each.directions for each in estimates]), full)
    close(recursive(some, period=3).at(3, POINT, memory).directions, full)
    deviations = [float(trees.norm(trees.subtract(each.directions, full))) for each in estimates]
    assert max(deviations) > 1e-3


def test_saba_remembers_what_each_block_gave_when_it_was_last_drawn() -> None:
    some, memory, last = ask(), saga(ask()).init(POINT), {}
    for k in range(7):
        moved = Point(*(trees.scale(1 + 0.1 * k, part) for part in POINT))
        memory = saga(some).at(k, moved, memory).memory
        last[some.inner_blocks.at(k)] = moved
    kept: Any = memory
    stored = kept["inner"]
    for block, at in last.items():
        close(stored["blocks"][block], some.products(block, at.w, at.lam, at.v))
    assert len(last) == 3
    close(stored["mean"], mean(list(stored["blocks"])))


def visited(make: Any, some: Oracles, steps: int) -> list[Point]:
    """The directions at as many points."""
    estimator = make(some)
    memory, found = estimator.init(POINT), []
    for k in range(steps):
        estimate = estimator.at(k, Point(*(trees.scale(1 + 0.1 * k, part) for part in POINT)), memory)
        memory = estimate.memory
        found.append(estimate.directions)
    return found


def test_the_first_pass_of_saba_takes_every_block_as_it_is() -> None:
    close(visited(saga, ask(), 2), visited(stochastic, ask(), 2))


@pytest.mark.parametrize("make", [saga, lambda some: recursive(some, period=100)])
def test_what_is_remembered_biases_nothing_where_all_blocks_are_the_same(make: Any) -> None:
    """From the first hyperiteration on, at a point that stays."""
    rows = torch.zeros(8, dtype=torch.int64)  # the first example, eight times
    same = FiniteSum(lambda w, lam, _: inner(w, lam, rows), lambda w, lam, _: outer(w, lam, rows), 8, 8, SUM.init)
    some = oracles(same, batch=1, seed=0)
    estimator = make(some)
    full, memory = evaluated(some, None, None, POINT)[0], estimator.init(POINT)
    for k in range(20):
        estimate = estimator.at(k, POINT, memory)
        memory = estimate.memory
        close(estimate.directions, full)


def hessians() -> tuple[list[Tensor], Tensor]:
    each = [draw(D, D, seed=seed) for seed in (20, 21)]
    blocks = [0.1 * (part @ part.T) + 0.3 * torch.eye(D, dtype=torch.float64) for part in each]
    return blocks, (blocks[0] + blocks[1]) / 2


@pytest.mark.parametrize("terms", [1, 3])
def test_the_stochastic_series_has_the_mean_of_the_series(terms: int) -> None:
    """All orders of independent blocks together give the powers of the mean matrix."""
    blocks, whole = hessians()
    gradient, rate = draw(D, seed=9), 0.4
    orders = list(product(range(2), repeat=terms))

    def solved(products: object) -> Tree:
        return neumann(terms=terms)(0, products, gradient, gradient, rate)  # type: ignore[arg-type]

    found = mean([solved(lambda j, v, order=order: blocks[order[j]] @ v) for order in orders])
    close(found, solved(lambda j, v: whole @ v))


def test_neumann_and_warm_steps_tend_to_the_solution_and_a_random_term_has_the_mean_of_the_series() -> None:
    _, whole = hessians()
    gradient, rate, zeros = draw(D, seed=9), 0.4, torch.zeros(D, dtype=torch.float64)

    def times(j: int, v: Tree) -> Tree:
        assert isinstance(v, Tensor)
        return whole @ v

    solution = -torch.linalg.solve(whole, gradient)
    close(neumann(terms=400)(0, times, gradient, zeros, rate), solution)
    close(warm_started(steps=400)(0, times, gradient, zeros, rate), solution)
    close(warm_started(steps=1)(0, times, gradient, solution, rate), solution)

    drawn: dict[int, Tree] = {}
    for k in range(60):
        last = int(torch.randint(4, (), generator=stream(3, "terms", k)))
        drawn[last] = randomized_neumann(terms=4, seed=3)(k, times, gradient, zeros, rate)
    assert sorted(drawn) == [0, 1, 2, 3]
    close(mean(list(drawn.values())), neumann(terms=3)(0, times, gradient, zeros, rate))
