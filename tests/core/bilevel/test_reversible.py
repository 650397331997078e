"""Heavy ball undone to the bit, and the hypergradient that comes of it."""

import gc
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel import trees
from core.bilevel.bit_buffer import LARGEST, BitBuffer, divide, multiply, ratio
from core.bilevel.dynamics import full_batch, gradient_descent, heavy_ball, nesterov
from core.bilevel.hypergradients import reverse, reversible
from core.bilevel.hypergradients.reversible import Walk
from core.bilevel.problem import Dynamics, Problem, State, Tree

CPU = torch.device("cpu")
quick = settings(max_examples=25, deadline=None, derandomize=True)


# --- the buffer ---------------------------------------------------------------------------------------


@quick
@given(seed=st.integers(0, 2**32), size=st.integers(1, 5), widest=st.integers(0, 31), pushes=st.integers(0, 60))
def test_what_is_pushed_is_popped(seed: int, size: int, widest: int, pushes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    buffer = BitBuffer(size, CPU)
    pushed = []
    for _ in range(pushes):
        widths = torch.randint(0, widest + 1, (size,), generator=generator)
        values = torch.randint(0, 2**31, (size,), generator=generator) & ((1 << widths) - 1)
        buffer.push(values, widths)
        pushed.append((values, widths))
    assert buffer.bits() == sum(int(widths.sum()) for _, widths in pushed)
    for values, widths in reversed(pushed):
        assert torch.equal(buffer.pop(widths), values)
    assert buffer.bits() == 0


@quick
@given(momentum=st.floats(2**-30, 1.0), offset=st.integers(0, 2**31), seed=st.integers(0, 2**32))
def test_multiplication_is_rounded_once_and_undone(momentum: float, offset: int, seed: int) -> None:
    by = ratio(momentum)
    offset %= by.d
    generator = torch.Generator().manual_seed(seed)
    v = torch.cat([torch.arange(-50, 50), torch.randint(-(2**61), 2**61, (100,), generator=generator)])
    buffer = BitBuffer(len(v), CPU)
    q = multiply(v, by, offset, buffer)
    assert q.tolist() == [(entry * by.n + offset) // by.d for entry in v.tolist()]
    assert buffer.bits() <= len(v) * math.ceil(math.log2(math.ceil(by.d / by.n)))
    assert torch.equal(divide(q, by, offset, buffer), v)
    assert buffer.bits() == 0


@quick
@given(value=st.floats(2**-30, 1.0))
def test_ratio_is_as_close_as_it_says(value: float) -> None:
    n, d = ratio(value)
    assert 1 <= n <= d <= LARGEST
    assert abs(n / d - value) <= 2**-31 / d + 2**-53


def test_decimal_momenta_are_themselves() -> None:
    assert ratio(0.9) == (9, 10)
    assert ratio(0.99) == (99, 100)


@pytest.mark.parametrize("momentum", [0.0, -0.5, 1.5, math.nan])
def test_a_momentum_that_cannot_be_undone_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match="the momentum is"):
        ratio(momentum)


# --- the walk -----------------------------------------------------------------------------------------


def quadratic_step(d: int = 8) -> Dynamics:
    """Heavy ball on 1/2 w'Aw - w'lam without torch.func, which would take most of the time."""
    curvature = torch.linspace(0.02, 1.5, d, dtype=torch.float64)

    def step(t: int, s: State, lam: Tree) -> State:
        assert isinstance(s.w, Tensor)
        velocity = 0.9 * s.aux + curvature * s.w - lam  # type: ignore[operator]
        return State(s.w - 0.1 * velocity, velocity)

    return Dynamics(lambda lam: State(torch.ones(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)), step)


def test_ten_thousand_steps_are_undone_to_the_bit() -> None:
    phi, lam, steps = quadratic_step(), torch.linspace(-1, 1, 8, dtype=torch.float64), 10_000
    start = phi.init(lam)
    walk = Walk(phi, lam, start, rate=0.1, momentum=0.9, fraction_bits=40)
    seen = {}
    for t in range(1, steps + 1):
        if t % 1000 == 1:
            seen[t - 1] = walk.w, walk.v
        walk.step(t)
    assert walk.buffer.bits() < 0.25 * steps * 8  # 0.2 on average; stored iterates would take 128 bits
    with pytest.raises(RuntimeError, match="missed the start"):
        walk.check_start(start)
    for t in range(steps, 0, -1):
        walk.undo(t)
        if t - 1 in seen:
            w, v = seen[t - 1]
            assert torch.equal(walk.w, w)
            assert torch.equal(walk.v, v)
    walk.check_start(start)
    assert torch.equal(walk.w, (start.w * 2.0**40).round().long())  # type: ignore[operator, union-attr]
    assert walk.buffer.bits() == 0


def test_rounding_is_of_the_order_that_is_stated() -> None:
    """Against the floating-point walk: at most about u / (1 - rho); here rho, of the slowest direction, is 0.99."""
    phi, lam = quadratic_step(), torch.linspace(-1, 1, 8, dtype=torch.float64)
    for bits in (20, 30, 40):
        walk = Walk(phi, lam, phi.init(lam), rate=0.1, momentum=0.9, fraction_bits=bits)
        state = phi.init(lam)
        for t in range(1, 501):
            walk.step(t)
            state = phi.step(t, state, lam)
        assert trees.norm(trees.subtract(walk.state(), state)) < 100 * 2.0**-bits


# --- the method ---------------------------------------------------------------------------------------


def problem_of(seed: int) -> tuple[Problem, Any]:
    """Strongly convex, not quadratic; w is a tree, and w_0 and E depend on lam."""
    generator = torch.Generator().manual_seed(seed)
    x, target = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((7, 3), (7,)))

    def inner(w: Any, lam: Any) -> Tensor:
        fit = (x @ w["a"] + w["b"] - target).square().add(1).sqrt().mean()
        return fit + 0.5 * (lam["strength"].exp() * w["a"].square()).sum() + 0.1 * w["b"] ** 2

    def outer(w: Any, lam: Any) -> Tensor:
        return (w["a"] - 1).square().sum() + w["b"] ** 2 + 0.1 * lam["start"].square().sum()

    problem = Problem(inner, outer, lambda lam: {"a": lam["start"], "b": lam["start"].sum()})
    lam = {
        "strength": torch.full((3,), -1.0),
        "start": torch.randn(3, generator=generator),
        "rate": torch.tensor(-1.5),
        "momentum": torch.tensor(1.0),
    }
    return problem, trees.map_leaves(lambda leaf: leaf.double(), lam)


def read_rate(t: int, lam: Any) -> Tensor:
    return lam["rate"].exp() / (1 + 0.01 * t)  # type: ignore[no-any-return]


def read_momentum(t: int, lam: Any) -> Tensor:
    return lam["momentum"].sigmoid()  # type: ignore[no-any-return]


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 40), learned=st.booleans(), bits=st.sampled_from([24, 36, 48]))
def test_agrees_with_reverse_to_the_precision_of_the_mantissas(seed: int, steps: int, learned: bool, bits: int) -> None:
    problem, lam = problem_of(seed)
    numbers: Any = {"rate": read_rate, "momentum": read_momentum} if learned else {"rate": 0.2, "momentum": 0.8}
    phi = heavy_ball(full_batch(problem.inner), problem.init, **numbers)
    expected = reverse(problem, phi, lam, steps=steps)
    found = reversible(problem, phi, lam, steps=steps, fraction_bits=bits, **numbers)
    bound = 100 * 2.0**-bits
    assert trees.norm(trees.subtract(found.state, expected.state)) < bound
    assert trees.norm(trees.subtract(found.grad, expected.grad)) < bound * (1 + trees.norm(expected.grad))
    assert abs(found.outer_loss - expected.outer_loss) < bound * (1 + expected.outer_loss)
    assert 0 <= float(found.diagnostics["buffer_bits"]) <= 1


def test_single_precision_is_undone_too() -> None:
    problem, lam = problem_of(0)
    lam = trees.map_leaves(lambda leaf: leaf.float(), lam)
    single = Problem(
        lambda w, lam: problem.inner(trees.map_leaves(Tensor.double, w), lam).float(), problem.outer, problem.init
    )
    phi = heavy_ball(full_batch(single.inner), single.init, rate=0.2, momentum=0.9)
    found = reversible(single, phi, lam, steps=50, rate=0.2, momentum=0.9)
    expected = reverse(single, phi, lam, steps=50)
    assert {leaf.dtype for leaf in trees.leaves((found.grad, found.state))} == {torch.float32}
    assert trees.norm(trees.subtract(found.grad, expected.grad)) < 1e-4 * trees.norm(expected.grad)


def test_divergence_shows() -> None:
    problem = Problem(
        lambda w, lam: 0.5 * ((w - lam) ** 2).sum() + 0.25 * (w**4).sum(),  # type: ignore[operator, union-attr]
        lambda w, lam: 0.5 * (w**2).sum(),  # type: ignore[operator, union-attr]
        lambda lam: 0 * lam,  # type: ignore[operator]
    )
    lam = torch.tensor([1.0, -2.0], dtype=torch.float64)
    for rate in (10.0, 1.0):
        phi = heavy_ball(full_batch(problem.inner), problem.init, rate=rate, momentum=0.9)
        found = reversible(problem, phi, lam, steps=60, rate=rate, momentum=0.9)
        assert not torch.isfinite(found.grad).any()  # type: ignore[arg-type]
        assert not torch.isfinite(found.outer_loss)
        assert not torch.isfinite(found.diagnostics["inner_objective_end"])


def test_a_momentum_that_is_not_a_number_shows_as_divergence() -> None:
    problem, lam = problem_of(1)
    numbers: Any = {"rate": 0.1, "momentum": lambda t, lam: torch.tensor(math.nan)}
    phi = heavy_ball(full_batch(problem.inner), problem.init, **numbers)
    found = reversible(problem, phi, lam, steps=5, **numbers)
    assert all(leaf.isnan().all() for leaf in trees.leaves(found.grad))
    assert found.outer_loss.isnan()


def test_dynamics_that_are_not_the_same_again_are_noticed() -> None:
    problem, lam = problem_of(1)
    phi = heavy_ball(full_batch(problem.inner), problem.init, rate=0.1, momentum=0.9)
    calls = [0]

    def step(t: int, s: State, lam: Tree) -> State:
        calls[0] += 1
        return phi.step(t, trees.scale(1 + 1e-9 * (calls[0] > 3), s), lam)

    with pytest.raises(RuntimeError, match="not the same to the bit"):
        reversible(problem, Dynamics(phi.init, step), lam, steps=5, rate=0.1, momentum=0.9)


def test_wants_a_momentum() -> None:
    problem, lam = problem_of(1)
    phi = gradient_descent(full_batch(problem.inner), problem.init, rate=0.1)
    with pytest.raises(ValueError, match="no velocity"):
        reversible(problem, phi, lam, steps=5, rate=0.1, momentum=0.9)
    phi = heavy_ball(full_batch(problem.inner), problem.init, rate=0.1, momentum=0.0)
    with pytest.raises(ValueError, match="momentum is 0"):
        reversible(problem, phi, lam, steps=5, rate=0.1, momentum=0.0)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_wants_heavy_ball_with_the_rate_and_momentum_that_it_is_given(precision: torch.dtype) -> None:
    problem, lam = problem_of(1)
    lam = trees.map_leaves(lambda leaf: leaf.to(precision), lam)
    single = Problem(
        lambda w, lam: problem.inner(trees.map_leaves(Tensor.double, w), lam).to(precision), problem.outer, problem.init
    )
    given: Any = {"rate": 0.01, "momentum": 0.9}
    for kind, numbers in (
        (heavy_ball, {"rate": 0.0101, "momentum": 0.9}),
        (heavy_ball, {"rate": 0.01, "momentum": 0.89}),
        (nesterov, given),
    ):
        phi = kind(full_batch(single.inner), single.init, **numbers)
        with pytest.raises(ValueError, match="not heavy ball with this rate and momentum"):
            reversible(single, phi, lam, steps=5, **given)
    assert reversible(single, heavy_ball(full_batch(single.inner), single.init, **given), lam, steps=5, **given)


def test_memory_does_not_grow_with_the_steps() -> None:
    """On the way there and on the way back no more tensors are alive after ninety steps than after ten."""
    problem, lam = problem_of(2)
    phi = heavy_ball(full_batch(problem.inner), problem.init, rate=0.1, momentum=0.9)
    alive: dict[int, list[int]] = {}

    def step(t: int, s: State, lam: Tree) -> State:
        if t in (10, 90):
            gc.collect()
            alive.setdefault(t, []).append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
        return phi.step(t, s, lam)

    reversible(problem, Dynamics(phi.init, step), lam, steps=100, rate=0.1, momentum=0.9)
    assert alive[90][0] <= alive[10][0]
    assert max(alive[90]) <= max(alive[10])
