"""A small network as inner problem, for which nothing is written out: bound by what each operator costs to call.

One strength a layer, learned through T steps on all examples; random data stand for images.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.agreement import arrays, require_agreement
from benchmarks.measure import Comparison, compare
from benchmarks.peers import peers
from core.bilevel import dynamics, hypergradients
from core.bilevel.hypergradients.inner import run
from core.bilevel.problem import Dynamics, Problem, Tree

EXAMPLES, FEATURES, HIDDEN, CLASSES = 200, 64, 32, 10
STEPS = 100
KINDS: dict[str, Any] = {
    "gradient descent": partial(dynamics.gradient_descent, rate=0.1),
    "Adam": partial(dynamics.adam, rate=0.01),
}
TOLERANCE = 1e-3
"""Largest relative difference between the hypergradients that are compared, in float32: it grows with the steps."""


class Stated(NamedTuple):
    """A bilevel problem, and its data."""

    problem: Problem
    dynamics: Dynamics
    lam: Tensor
    """Log-strengths [2], of the hidden and of the last layer."""
    start: list[Tensor]
    """Weight and offset of the first layer, of the second."""
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]


def main(rounds: int) -> Iterator[Comparison]:
    """Two dynamics: the methods, and the peers, over the walk as one would write it down."""
    for kind in KINDS:
        stated = state(kind)
        methods: dict[str, Callable[[], Any]] = {
            "reverse": method(stated, hypergradients.reverse),
            "reverse, segments": method(stated, hypergradients.reverse, segment="auto"),
            "unrolled": method(stated, hypergradients.unrolled),
            "forward": method(stated, hypergradients.forward),
        }
        others = _of_peers(kind, stated)
        found = {name: arrays(call().grad) for name, call in methods.items()}
        require_agreement(found | {name: [call()] for name, call in others.items()}, TOLERANCE)
        walks = {"walk": partial(torch.no_grad()(run), stated.dynamics, stated.lam, STEPS)}
        sizes = f"n = {EXAMPLES}, {FEATURES} x {HIDDEN} x {CLASSES}, T = {STEPS}, {kind}"
        yield compare("strength of each layer of a network", sizes, {**walks, **methods, **others}, rounds)


def method(stated: Stated, kind: Any, **knobs: Any) -> Callable[[], Any]:
    """A call that gives the hypergradient."""
    return partial(kind, stated.problem, stated.dynamics, stated.lam, steps=STEPS, **knobs)


def state(kind: str) -> Stated:
    """The network with tanh units from small random weights."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(FEATURES, CLASSES, generator=generator)

    def draw() -> tuple[Tensor, Tensor]:
        x = torch.randn(EXAMPLES, FEATURES, generator=generator) / FEATURES**0.5
        return x, (x @ truth + torch.randn(EXAMPLES, CLASSES, generator=generator) / 2).argmax(-1)

    train, validation = draw(), draw()
    first = torch.randn(FEATURES, HIDDEN, generator=generator) / FEATURES**0.5
    second = torch.randn(HIDDEN, CLASSES, generator=generator) / HIDDEN**0.5
    start = [first, torch.zeros(HIDDEN), second, torch.zeros(CLASSES)]

    def loss(w: Any, examples: tuple[Tensor, Tensor]) -> Tensor:
        hidden = torch.tanh(torch.addmm(w[1], examples[0], w[0]))
        return functional.cross_entropy(torch.addmm(w[3], hidden, w[2]), examples[1])

    def inner(w: Any, lam: Tree) -> Tensor:
        assert isinstance(lam, Tensor)
        return loss(w, train) + (lam.exp() * torch.stack([w[0].square().sum(), w[2].square().sum()])).sum() / 2

    problem = Problem(inner, lambda w, lam: loss(w, validation), lambda lam: list(start))
    steps: Dynamics = KINDS[kind](dynamics.full_batch(inner), problem.init)
    return Stated(problem, steps, torch.tensor([-5.0, -5.0]), start, train, validation)


def _of_peers(kind: str, stated: Stated) -> dict[str, Callable[[], Any]]:
    module = peers("small_networks")
    if module is None:
        return {}
    network = module.Network(stated.lam, stated.start, stated.train, stated.validation, STEPS)
    return {name: make(network) for name, make in module.PEERS[kind].items()}
