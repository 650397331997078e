"""Reverse mode through heavy ball that keeps no iterate: the way back undoes each step to the bit (Maclaurin 2015).

On int64 mantissas, w = W u and v = V u with u = 2^-f, step t is
V <- [mu V] + [grad L_t(w) / u], W <- W - [eta V], with [] for rounding, and undone from the last term to the first. The
choice of V among those that give the same [mu V] is kept in a buffer: 2 (1 - mu) bits a step and variable, mu >= 1/2.
"""

import math

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.bit_buffer import CHANGED, BitBuffer, Ratio, divide, multiply, ratio
from core.bilevel.derivatives import vjp
from core.bilevel.dynamics import Scalar, value_at
from core.bilevel.hypergradients.inner import check, diagnose
from core.bilevel.hypergradients.reverse import back, begin_back
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree

LIMIT = 2.0**61
"""Of mantissas and of what is added to them, so that no sum overflows."""

STRIDE = 2_654_435_769
"""2^32 times the golden ratio less one, whose multiples modulo one are spread evenly."""


@torch.no_grad()
def reversible(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    rate: Scalar,
    momentum: Scalar,
    fraction_bits: int = 40,
) -> Hypergradient:
    """As `reverse`, for `heavy_ball` with this rate and momentum; memory independent of the steps but for the buffer.

    A Method once rate and momentum are bound, those of the dynamics, which is checked at the first step. Inner
    variables and velocity are multiples of u = 2^-fraction_bits up to 2^(61 - fraction_bits); what grows beyond gives
    NaN. Rounding moves v_t by at most u and w_t by u/2 in a step: where the dynamics contract by a factor rho < 1, w_T,
    and the hypergradient relative to its size, are off by the order of u / (1 - rho).

    The diagnostic "buffer_bits" is the bits kept per step and inner variable.

    Raises:
        ValueError: the dynamics are not heavy ball with this rate and momentum, or a momentum is not above 0 and at
            most 1; what a momentum of 0 forgets cannot be kept in few bits.
        RuntimeError: a gradient came out different when it was computed again, so that the start was missed.
    """
    check(problem, steps)
    lam = trees.detach(lam)
    start = dynamics.init(lam)
    _check_heavy_ball(dynamics, start, lam, float(value_at(rate, 1, lam)), float(value_at(momentum, 1, lam)))
    walk = Walk(dynamics, lam, start, rate=rate, momentum=momentum, fraction_bits=fraction_bits)
    for t in range(1, steps + 1):
        walk.step(t)
    end = walk.state()
    bits = walk.buffer.bits() / max(steps * trees.size(start.w), 1)
    outer_loss, alpha, grad = begin_back(problem, end, lam)
    if walk.fits():
        for t in range(steps, 0, -1):
            walk.undo(t)
            alpha, grad = back(dynamics, t, walk.state(), lam, alpha, grad)
        walk.check_start(start)
        grad = trees.add(grad, vjp(dynamics.init, lam)[1](alpha)[0])
    else:
        grad = trees.scale(math.nan, grad)
    diagnostics = {**diagnose(problem, lam, start.w, end.w), "buffer_bits": torch.tensor(bits)}
    return Hypergradient(grad, outer_loss, end, diagnostics)


def _check_heavy_ball(dynamics: Dynamics, start: State, lam: Tree, rate: float, momentum: float) -> None:
    """Raises ValueError if step 1 from a velocity of 1 does not go where heavy ball would; NaN is not judged."""
    if not trees.leaves(start.aux):
        raise ValueError("the dynamics have no velocity: reversible goes with heavy_ball only")
    rest = trees.zeros_like(start.w)
    ones = trees.map_leaves(torch.ones_like, rest)
    gradient, found = dynamics.step(1, State(start.w, rest), lam).aux, dynamics.step(1, State(start.w, ones), lam)
    velocity, move = trees.axpy(momentum, ones, gradient), trees.subtract(start.w, found.w)
    off = trees.norm(trees.subtract(velocity, found.aux)) > 1e-3 * trees.norm(velocity)
    allowed = 1e-3 * rate * trees.norm(velocity) + 1e-6 * trees.norm(start.w)
    if off or trees.norm(trees.axpy(-rate, velocity, move)) > allowed:
        raise ValueError("the dynamics are not heavy ball with this rate and momentum")


class Walk:
    """Heavy ball on mantissas, forward and back."""

    def __init__(
        self, dynamics: Dynamics, lam: Tree, start: State, *, rate: Scalar, momentum: Scalar, fraction_bits: int
    ) -> None:
        self._dynamics, self._lam = dynamics, lam
        self._rate, self._momentum = rate, momentum
        self._scale = 2.0**fraction_bits
        w, self._unravel = trees.ravel(start.w)
        self._dtype = w.dtype
        self._peak = w.new_zeros((), dtype=torch.float64)
        self.w, self.v = self._mantissas(start.w), self._mantissas(start.aux)  # [size]
        self.buffer = BitBuffer(w.numel(), w.device)

    def step(self, t: int) -> None:
        """s_{t-1} -> s_t."""
        self.v = multiply(self.v, *self._ratio(t), self.buffer) + self._gradient(t)
        self._watch(self.v)
        self.w = self.w - self._move(t)
        self._watch(self.w)

    def undo(self, t: int) -> None:
        """s_t -> s_{t-1}: the terms of `step`, last to first, each computed from the same numbers."""
        self.w = self.w + self._move(t)
        self.v = divide(self.v - self._gradient(t), *self._ratio(t), self.buffer)

    def state(self) -> State:
        """As floating-point numbers; NaN once something did not fit."""
        unit = 1 / self._scale if self.fits() else math.nan
        w, v = ((mantissa.double() * unit).to(self._dtype) for mantissa in (self.w, self.v))
        return State(self._unravel(w), self._unravel(v))

    def fits(self) -> bool:
        """Whether all numbers so far had room."""
        return bool(self._peak < LIMIT)

    def check_start(self, start: State) -> None:
        """Raises RuntimeError if this is not s_0."""
        w, v = self._mantissas(start.w), self._mantissas(start.aux)
        if self.buffer.bits() or not (torch.equal(self.w, w) and torch.equal(self.v, v)):
            raise RuntimeError(CHANGED)

    def _ratio(self, t: int) -> tuple[Ratio, int]:
        """mu, and an offset in 0..d-1 for its product, spread evenly over the steps; NaN is remembered as too large."""
        momentum = float(value_at(self._momentum, t, self._lam))
        if math.isnan(momentum):
            self._peak.fill_(math.nan)
        mu = ratio(1.0 if math.isnan(momentum) else momentum)
        return mu, (t * STRIDE % 2**32) * mu.d >> 32

    def _move(self, t: int) -> Tensor:
        """[eta V]."""
        return self._rounded(self.v.double() * float(value_at(self._rate, t, self._lam)))

    def _gradient(self, t: int) -> Tensor:
        """[grad L_t(w) / u]: the velocity that a step from rest has."""
        w = self._unravel((self.w.double() / self._scale).to(self._dtype))
        velocity = self._dynamics.step(t, State(w, trees.zeros_like(w)), self._lam).aux
        return self._mantissas(velocity)

    def _mantissas(self, x: Tree) -> Tensor:
        return self._rounded(trees.ravel(x)[0].double() * self._scale)

    def _rounded(self, x: Tensor) -> Tensor:
        self._watch(x)
        return x.round().long()

    def _watch(self, x: Tensor) -> None:
        """Remembers the largest of all numbers, or NaN."""
        self._peak = torch.maximum(self._peak, x.abs().amax())
