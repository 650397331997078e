"""`softmax_walk` on a CUDA device in float32: all steps of a task in one kernel, one on the way back.

Launched one by one, as they are in a graph too, the four operations of a step take longer to begin than to run.
Numbers are float32; factors of products are sums of two in float16, 22 bits of the largest entry's, because tensor
cores then multiply them. What the way back needs is written to memory as it is made, and read one step ahead.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# Kernels are in a language of their own, whose arguments have the types they are called with.

import triton
import triton.language as tl
from torch import Tensor

from core.bilevel.fused import device_of
from core.bilevel.softmax_walk import Adjoint, Walk, pulled_back, rate_slopes

WARPS = {16: 4, 32: 4, 64: 4, 128: 8}
"""By the number of examples, padded."""
BLOCK = 128
"""Entries of an iterate that one program sums up."""
FINE: tl.constexpr = tl.constexpr(2048.0)
"""By which the second half of a number is larger than it is: 11 bits, as many as the first has."""
SMALLEST: tl.constexpr = tl.constexpr(1e-30)
OFTEN = 4
ROOM: tl.constexpr = tl.constexpr(256.0)
"""dE/dA is scaled to 1/ROOM every OFTEN steps: float16 then has room for it to grow 10^7-fold until it is again."""


def walk(kernel: Tensor, targets: Tensor, rates: Tensor, l2: float, steps: int) -> Walk:
    """As `softmax_walk.walk`, of at least one step and tasks as small as `softmax_heads` says."""
    tasks, classes, examples = targets.shape
    sizes = {"C": _padded(classes), "N": _padded(examples), "steps": steps}
    each, warps = int(len(rates) > 1), WARPS[sizes["N"]]
    kernel, targets = kernel.contiguous(), targets.contiguous()
    probabilities = targets.new_empty(tasks, steps, classes, examples)
    iterates = targets.new_empty(tasks, steps + 1, classes, examples)
    size, numbers = classes * examples, (l2, each, classes, examples)
    with device_of(kernel):
        _probabilities[(tasks,)](kernel, targets, rates, probabilities, *numbers, num_warps=warps, **sizes)
        _iterates[(tasks, triton.cdiv(size, BLOCK))](
            probabilities, targets, rates, iterates, l2, each, size, examples, steps=steps, BLOCK=BLOCK
        )

    def pull(a_bar: Tensor, by_rates: bool) -> Adjoint:
        s_bars, a_bars = probabilities.new_empty(2, *probabilities.shape)
        given = (kernel, probabilities, a_bar.contiguous(), rates)
        with device_of(kernel):
            _pulled[(tasks,)](*given, s_bars, a_bars, *numbers, OFTEN=OFTEN, num_warps=warps, **sizes)
        slopes = rate_slopes(a_bars, iterates, probabilities, targets, l2) if by_rates else None
        return Adjoint(pulled_back(s_bars, iterates), slopes)

    return Walk(iterates, pull)


def _padded(size: int) -> int:
    """To what a product takes: a power of two, 16 at least."""
    return int(max(16, triton.next_power_of_2(size)))


@triton.jit
def _place(classes, examples, C: tl.constexpr, N: tl.constexpr):
    """The task of this program; where its entries [C, N] lie, which of these there are, and how many."""
    task = tl.program_id(0).to(tl.int64)
    c, n = tl.arange(0, C), tl.arange(0, N)
    inside = (c < classes)[:, None] & (n < examples)[None, :]
    return task, c[:, None] * examples + n[None, :], inside, classes * examples


@triton.jit
def _kernel_of(kernel, task, examples, N: tl.constexpr):
    """K of one task as scale (high + low / FINE)."""
    n = tl.arange(0, N)
    square = (n < examples)[:, None] & (n < examples)[None, :]
    k = tl.load(kernel + task * examples * examples + n[:, None] * examples + n[None, :], mask=square, other=0.0)
    scale = tl.maximum(tl.max(tl.abs(k)), SMALLEST)
    high, low = _halves(k / scale)
    return scale, high, low


@triton.jit
def _halves(x):
    """x as high + low / FINE; what float16 makes of x, and of the rest."""
    high = x.to(tl.float16)
    return high, ((x - high.to(tl.float32)) * FINE).to(tl.float16)


@triton.jit
def _product(x, high, low):
    """x (high + low / FINE), in float32."""
    x_high, x_low = _halves(x)
    fine = tl.dot(x_high, low, tl.dot(x_low, high))
    return tl.dot(x_high, high, fine / FINE)


@triton.jit(do_not_specialize=["steps"])
def _probabilities(
    kernel,
    targets,
    rates,
    probabilities,
    l2,
    each,
    classes,
    examples,
    steps,
    C: tl.constexpr,
    N: tl.constexpr,
):
    """P_0 .. P_{T-1} of one task."""
    task, at, inside, size = _place(classes, examples, C, N)
    scale, high, low = _kernel_of(kernel, task, examples, N)
    y = tl.load(targets + task * size + at, mask=inside, other=0.0)
    scores, rate = tl.zeros((C, N), tl.float32), tl.load(rates)
    place = probabilities + task * steps * size
    for t in range(steps):
        following = tl.load(rates + tl.minimum(t + 1, steps - 1) * each)
        shown = tl.where((tl.arange(0, C) < classes)[:, None], scores, float("-inf"))
        e = tl.exp(shown - tl.max(shown, 0)[None, :])
        p = e / tl.sum(e, 0)[None, :]
        tl.store(place + at, p, mask=inside)
        scores = scores * (1 - rate * l2) - rate / examples * scale * _product(p - y, high, low)
        place += size
        rate = following


@triton.jit(do_not_specialize=["steps"])
def _iterates(probabilities, targets, rates, iterates, l2, each, size, examples, steps, BLOCK: tl.constexpr):
    """A_0 .. A_T: a running sum for each entry of one task."""
    task = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    y = tl.load(targets + task * size + at, mask=inside, other=0.0)
    a = tl.zeros((BLOCK,), tl.float32)
    tl.store(iterates + task * (steps + 1) * size + at, a, mask=inside)
    for t in range(steps):
        rate = tl.load(rates + t * each)
        p = tl.load(probabilities + (task * steps + t) * size + at, mask=inside, other=0.0)
        a = a * (1 - rate * l2) - rate / examples * (p - y)
        tl.store(iterates + (task * (steps + 1) + t + 1) * size + at, a, mask=inside)


@triton.jit(do_not_specialize=["steps"])
def _pulled(
    kernel,
    probabilities,
    bar,
    rates,
    s_bars,
    a_bars,
    l2,
    each,
    classes,
    examples,
    steps,
    C: tl.constexpr,
    N: tl.constexpr,
    OFTEN: tl.constexpr,
):
    """dE/dS_t and dE/dA_{t+1} of one task, from the last step to the first."""
    task, at, inside, size = _place(classes, examples, C, N)
    scale, high, low = _kernel_of(kernel, task, examples, N)
    a_bar = tl.load(bar + task * size + at, mask=inside, other=0.0)
    unit = tl.full((), 1.0, tl.float32)
    place = (task * steps + steps - 1) * size
    p = tl.load(probabilities + place + at, mask=inside, other=0.0)
    rate = tl.load(rates + (steps - 1) * each)
    for back in range(steps):
        if back % OFTEN == 0:
            grown = tl.maximum(tl.max(tl.abs(a_bar)), SMALLEST) * ROOM
            a_bar, unit = a_bar / grown, unit * grown
        before = tl.maximum(steps - 2 - back, 0)
        p_before = tl.load(probabilities + (task * steps + before) * size + at, mask=inside, other=0.0)
        rate_before = tl.load(rates + before * each)
        u = p * (a_bar - tl.sum(p * a_bar, 0)[None, :])
        tl.store(a_bars + place + at, unit * a_bar, mask=inside)
        tl.store(s_bars + place + at, -rate / examples * unit * u, mask=inside)
        a_bar = a_bar * (1 - rate * l2) - rate / examples * scale * _product(u, high, low)
        place -= size
        p, rate = p_before, rate_before
