"""Algorithms on finite sums against their update rules, written out with dense Jacobians of one minibatch at a time.

Each rule states the equations of its source; w, v and lam are vectors, L_ww and L_lamw matrices. From the code tested
comes nothing but the order of the blocks (a role for each draw), which `test_finite_sum` tests.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.func import hessian, jacrev
from torch.nn.functional import softplus

from core.bilevel import trees
from core.bilevel.finite_sum import ALL, Blocks, FiniteSum, PartObjective, Rows, oracles
from core.bilevel.problem import Tree
from core.bilevel.randomness import stream
from core.spec import KINDS
from core.spec import stochastic as spec
from core.stochastic import build_stochastic

N, M, D, SEED, HYPERITERATIONS = 7, 5, 3, 3, 12
T, Q = 3, 4  # inner steps, Hessian products
THETA, MU, MU_EXPONENT, ETA, LINEAR_RATE = 0.3, 2.0, 0.25, 0.5, 0.2
BOUND = 0.65  # of lam: every algorithm meets it
RATES: dict[str, Any] = {"inner_rate": 0.3, "outer_rate": 5.0, "inner_exponent": 0.4, "outer_exponent": 0.7, "batch": 2}


def rho(k: int) -> float:
    return float(0.3 / (k + 1) ** 0.4)


def gamma(k: int) -> float:
    return float(5.0 / (k + 1) ** 0.7)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, Y, A, B = draw(N, D, seed=1), draw(N, seed=2), draw(M, D, seed=3), draw(M, seed=4)
W: Any = {"slopes": draw(D, seed=5), "offset": draw(1, seed=6)}
LAM: Any = {"penalty": 0.5 * draw(D, seed=7), "weights": 0.5 * draw(N, seed=8)}


def inner(w: Any, lam: Any, rows: Rows) -> Tensor:
    """Logistic loss with a weight of every example, and a penalty of every slope."""
    fit = torch.sigmoid(lam["weights"][rows]) * softplus(-Y[rows] * (X[rows] @ w["slopes"] + w["offset"]))
    found: Tensor = fit.mean() + 0.5 * (lam["penalty"].exp() * w["slopes"] ** 2).sum() + 0.05 * (w["offset"] ** 2).sum()
    return found


def outer(w: Any, lam: Any, rows: Rows) -> Tensor:
    """Another loss, whose derivative by lam depends on w."""
    fit = (A[rows] @ w["slopes"] + w["offset"] - B[rows]).cosh().log().mean()
    found: Tensor = fit + 0.1 * ((lam["penalty"] * w["slopes"]) ** 2).sum()
    return found


clip: Callable[[Tree], Tree] = partial(trees.map_leaves, partial(torch.clamp, min=-BOUND, max=BOUND))
SUM = FiniteSum(inner, outer, N, M, lambda lam: W)
ASK = oracles(SUM, batch=2, seed=SEED)
W_0, w_tree = trees.ravel(W)
LAM_0, lam_tree = trees.ravel(LAM)
V_0, ONE = torch.zeros_like(W_0), torch.eye(D + 1, dtype=torch.float64)


def part(objective: PartObjective, blocks: Blocks, block: int | None, w: Tensor, lam: Tensor) -> Tensor:
    """A block counts by its size: the mean over blocks is that over examples."""
    if block is None:
        return objective(w_tree(w), lam_tree(lam), ALL)
    rows = blocks.rows(block)
    share = len(range(blocks.examples)[rows]) * blocks.count / blocks.examples
    return share * objective(w_tree(w), lam_tree(lam), rows)


# (block or None, w, lam) -> L, E and their derivatives, at vectors
L, E = partial(part, inner, ASK.inner_blocks), partial(part, outer, ASK.outer_blocks)
L_w, L_lam, E_w, E_lam = jacrev(L, 1), jacrev(L, 2), jacrev(E, 1), jacrev(E, 2)
L_ww, L_lamw = hessian(L, 1), jacrev(L_lam, 1)  # [w, w], [lam, w]
inner_block, outer_block = ASK.inner_blocks.at, ASK.outer_blocks.at


def moved(lam: Tensor, k: int, direction: Tensor) -> Tensor:
    """The outer step."""
    return (lam - gamma(k) * direction).clamp(-BOUND, BOUND)


class Point(NamedTuple):
    w: Tensor
    v: Tensor
    lam: Tensor


Held = dict[str, Tensor]
"""What a state holds, as vectors."""
Rule = Callable[[], Iterator[Held]]
"""The states after hyperiterations 0, 1, ..."""


def directions(i: int | None, j: int | None, at: Point) -> Point:
    w, v, lam = at
    return Point(L_w(i, w, lam), L_ww(i, w, lam) @ v + E_w(j, w, lam), L_lamw(i, w, lam) @ v + E_lam(j, w, lam))


def single_loop(estimate: Callable[[int, Point], Iterable[Tensor]]) -> Iterator[Held]:
    """(w, v, lam) -= (rho D_w, rho D_v, gamma D_lam), all at the old point."""
    w, v, lam = W_0, V_0, LAM_0
    for k in range(HYPERITERATIONS):
        along_w, along_v, along_lam = estimate(k, Point(w, v, lam))
        w, v, lam = w - rho(k) * along_w, v - rho(k) * along_v, moved(lam, k, along_lam)
        yield {"w": w, "v": v, "lam": lam}


def soba() -> Iterator[Held]:
    """D_w = L_w, D_v = L_ww v + E_w, D_lam = L_lamw v + E_lam (Dagréou et al. 2022)."""
    return single_loop(lambda k, at: directions(inner_block(k), outer_block(k), at))


def ma_soba() -> Iterator[Held]:
    """D_w and D_v of SOBA; d <- (1 - theta) d + theta D_lam, lam -= gamma d (Chen et al. 2023)."""
    averages = [torch.zeros_like(LAM_0)]

    def direction(k: int, at: Point) -> Point:
        fresh = directions(inner_block(k), outer_block(k), at)
        averages.append((1 - THETA) * averages[-1] + THETA * fresh.lam)
        return Point(fresh.w, fresh.v, averages[-1])

    return single_loop(direction)


def saga(fresh: list[Tensor], last: dict[int, list[Tensor]], block: int) -> list[Tensor]:
    """fresh - stored + mean of the stored, of blocks that have come; one that has not is stored as that mean."""
    means = [torch.stack(term).mean(0) for term in zip(*last.values(), strict=True)] or fresh
    stored = last.get(block, means)
    last[block] = fresh
    return [one - old + mean for one, old, mean in zip(fresh, stored, means, strict=True)]


def saba() -> Iterator[Held]:
    """SOBA, each of L_w, L_ww v, L_lamw v, E_w, E_lam with a memory of its last value on each block (Dagréou 2022)."""
    memories: tuple[dict[int, list[Tensor]], dict[int, list[Tensor]]] = {}, {}

    def direction(k: int, at: Point) -> Point:
        (w, v, lam), i, j = at, inner_block(k), outer_block(k)
        of_inner = [L_w(i, w, lam), L_ww(i, w, lam) @ v, L_lamw(i, w, lam) @ v]
        slope, hessian_v, cross_v = saga(of_inner, memories[0], i)
        by_w, by_lam = saga([E_w(j, w, lam), E_lam(j, w, lam)], memories[1], j)
        return Point(slope, hessian_v + by_w, cross_v + by_lam)

    return single_loop(direction)


def srba(period: int) -> Iterator[Held]:
    """D_k = D_{k-1} + D(block, x_k) - D(block, x_{k-1}), every `period` of all examples (Dagréou et al. 2023)."""
    past: list[tuple[Point, Point]] = []  # x_k and D_k

    def direction(k: int, at: Point) -> Point:
        found = directions(None, None, at)
        if k % period:
            before, found_before = past[-1]
            fresh, old = (directions(inner_block(k), outer_block(k), point) for point in (at, before))
            found = Point(*(last + new - gone for last, new, gone in zip(found_before, fresh, old, strict=True)))
        past.append((at, found))
        return found

    return single_loop(direction)


def walked(k: int, roles: range, w: Tensor, lam: Tensor) -> Tensor:
    """Inner steps w -= rho L_w."""
    for role in roles:
        w = w - rho(k) * L_w(inner_block(k, role), w, lam)
    return w


def two_loop(solve: Callable[[int, list[Tensor], Tensor, Tensor], Tensor], *, steps: int = T) -> Iterator[Held]:
    """`steps` times w -= rho L_w; v; lam -= gamma (L_lamw v + E_lam): the next inner steps are in the state."""
    w, v, lam = walked(0, range(steps), W_0, LAM_0), V_0, LAM_0
    for k in range(HYPERITERATIONS):
        j, crossing = outer_block(k), inner_block(k, steps)
        hessians = [L_ww(inner_block(k, steps + 1 + q), w, lam) for q in range(Q)]
        v = solve(k, hessians, E_w(j, w, lam), v)
        lam = moved(lam, k, L_lamw(crossing, w, lam) @ v + E_lam(j, w, lam))
        w = walked(k + 1, range(steps), w, lam)
        yield {"w": w, "v": v, "lam": lam}


def series(rate: float, hessians: list[Tensor]) -> list[Tensor]:
    """I, I - rate H_1, (I - rate H_2) (I - rate H_1), ..."""
    return list(accumulate(hessians, lambda product, H: (ONE - rate * H) @ product, initial=ONE))


def stocbio() -> Iterator[Held]:
    """v = -rho sum_{q=0..Q} prod_{j<=q} (I - rho H_j) E_w (Ji et al. 2021)."""
    return two_loop(lambda k, hessians, slope, v: -rho(k) * sum(series(rho(k), hessians), 0 * ONE) @ slope)


def amigo() -> Iterator[Held]:
    """Q times v -= rho (H_j v + E_w), from the last v (Arbel and Mairal 2022)."""

    def solve(k: int, hessians: list[Tensor], slope: Tensor, v: Tensor) -> Tensor:
        for H in hessians:
            v = v - rho(k) * (H @ v + slope)
        return v

    return two_loop(solve)


def ttsa() -> Iterator[Held]:
    """One inner step; v = -Q rate prod_{j<=p} (I - rate H_j) E_w, p drawn from 0..Q-1 (Hong et al. 2023)."""

    def solve(k: int, hessians: list[Tensor], slope: Tensor, v: Tensor) -> Tensor:
        p = int(torch.randint(Q, (), generator=stream(SEED, "terms", k)))
        return -Q * LINEAR_RATE * series(LINEAR_RATE, hessians)[p] @ slope

    return two_loop(solve, steps=1)


def f2sa() -> Iterator[Held]:
    """T times z -= rho L_w(z), y -= rho / mu (mu L_w + E_w)(y); then lam as below, with mu growing (Kwon et al. 2023).

    lam -= gamma (E_lam(y) + mu (L_lam(y) - L_lam(z))).
    """
    z, y, lam = W_0, W_0, LAM_0
    for k in range(HYPERITERATIONS):
        mu = MU * (k + 1) ** MU_EXPONENT
        for i, j in ((inner_block(k, role), outer_block(k, role)) for role in range(1, T + 1)):
            z = z - rho(k) * L_w(i, z, lam)
            y = y - rho(k) / mu * (mu * L_w(i, y, lam) + E_w(j, y, lam))
        penalty = L_lam(inner_block(k), y, lam) - L_lam(inner_block(k), z, lam)
        lam = moved(lam, k, E_lam(outer_block(k), y, lam) + mu * penalty)
        yield {"w": z, "y": y, "lam": lam}


def gap(k: int, w: Tensor, z: Tensor, lam: Tensor) -> tuple[Tensor, ...]:
    """q = L(w, lam) - L(z, lam), grad q with z constant, grad E."""
    i, j = inner_block(k), outer_block(k)
    q, q_lam = L(i, w, lam) - L(i, z, lam), L_lam(i, w, lam) - L_lam(i, z, lam)
    return q, L_w(i, w, lam), q_lam, E_w(j, w, lam), E_lam(j, w, lam)


def bome(by_gap: bool) -> Iterator[Held]:
    """(w, lam) -= rates (grad E + mu grad q), mu = max(phi - <grad E, grad q>, 0) / |grad q|^2 (Ye et al. 2022)."""
    w, lam = W_0, LAM_0
    for k in range(HYPERITERATIONS):
        q, q_w, q_lam, by_w, by_lam = gap(k, w, walked(k, range(1, T + 1), w, lam), lam)
        square = q_w @ q_w + q_lam @ q_lam
        phi = ETA * (q if by_gap else square)  # q with z by T steps from w
        mu = max(float((phi - by_w @ q_w - by_lam @ q_lam) / square), 0.0)
        w, lam = w - rho(k) * (by_w + mu * q_w), moved(lam, k, by_lam + mu * q_lam)
        yield {"w": w, "lam": lam}


def pbgd() -> Iterator[Held]:
    """w -= rho / (1 + mu) (E_w + mu q_w), lam -= gamma (E_lam + mu q_lam), z by T steps from the last (Shen 2023)."""
    w, z, lam = W_0, W_0, LAM_0
    for k in range(HYPERITERATIONS):
        z = walked(k, range(1, T + 1), z, lam)
        _, q_w, q_lam, by_w, by_lam = gap(k, w, z, lam)
        w, lam = w - rho(k) / (1 + MU) * (by_w + MU * q_w), moved(lam, k, by_lam + MU * q_lam)
        yield {"w": w, "z": z, "lam": lam}


CASES: list[tuple[spec.AnyStochastic, Rule]] = [
    (spec.Soba(**RATES), soba),
    (spec.MaSoba(averaging=THETA, **RATES), ma_soba),
    (spec.Saba(**RATES), saba),
    (spec.Srba(**RATES), partial(srba, ASK.inner_blocks.count + ASK.outer_blocks.count)),
    (spec.Srba(period=5, **RATES), partial(srba, 5)),
    (spec.StocBio(inner_steps=T, linear_steps=Q, **RATES), stocbio),
    (spec.Amigo(inner_steps=T, linear_steps=Q, **RATES), amigo),
    (spec.Ttsa(linear_steps=Q, linear_rate=LINEAR_RATE, **RATES), ttsa),
    (spec.F2sa(inner_steps=T, multiplier=MU, multiplier_exponent=MU_EXPONENT, **RATES), f2sa),
    (spec.Bome(inner_steps=T, eta=ETA, barrier="gradient", **RATES), partial(bome, False)),
    (spec.Bome(inner_steps=T, eta=ETA, barrier="gap", **RATES), partial(bome, True)),
    (spec.Pbgd(inner_steps=T, multiplier=MU, **RATES), pbgd),
]


@pytest.mark.parametrize(("chosen", "rule"), CASES, ids=[chosen.kind for chosen, _ in CASES])
def test_it_moves_by_its_rule(chosen: spec.AnyStochastic, rule: Rule) -> None:
    algorithm = build_stochastic(chosen, SUM, clip, seed=SEED)
    assert algorithm.inner is not None
    state: Any = algorithm.init(LAM)
    for k, expected in enumerate(rule()):
        state, _ = algorithm.step(k, state)
        held = {**state.aux, "w": algorithm.inner(state), "lam": state.lam}
        found = {name: trees.ravel(part)[0] for name, part in held.items() if name != "memory"}
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_every_algorithm_has_a_rule() -> None:
    kinds = {member for member in KINDS["algorithm"] if issubclass(member, spec.Stochastic)}
    assert {type(chosen) for chosen, _ in CASES} == kinds
