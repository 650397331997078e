"""A small network as inner problem: bound by what each operator costs to call.

One strength a layer, learned through T steps on all examples; random data stand for images. Every method by the
gradient that is written out, as the service has it for networks of its own, and by that of torch's tape.
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
from core.bilevel.derivatives import taking
from core.bilevel.finite_sum import ALL, Rows
from core.bilevel.hypergradients.inner import run
from core.bilevel.linear_models import SOFTMAX
from core.bilevel.problem import Dynamics, Problem, Tree
from core.models.mlp import mlp
from core.problems.fit_gradient import with_fit_gradient
from core.problems.inner import entry
from core.problems.regularization import STRENGTH, penalized, penalty, strength_of

EXAMPLES, FEATURES, HIDDEN, CLASSES = 200, 64, 32, 10
STEPS = 100
KINDS: dict[str, Any] = {
    "gradient descent": partial(dynamics.gradient_descent, rate=0.1),
    "Adam": partial(dynamics.adam, rate=0.01),
}
METHODS: dict[str, Any] = {
    "reverse": hypergradients.reverse,
    "reverse, segments": partial(hypergradients.reverse, segment="auto"),
    "unrolled": hypergradients.unrolled,
    "forward": hypergradients.forward,
}
TOLERANCE = 1e-3
"""Largest relative difference between the hypergradients that are compared, in float32: it grows with the steps."""


class Stated(NamedTuple):
    """A bilevel problem, and its data."""

    problem: Problem
    dynamics: Dynamics
    taped: Dynamics
    """The same by a gradient that torch finds."""
    lam: Tree
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
            f"{name}{of}": partial(call, stated.problem, steps, stated.lam, steps=STEPS)
            for name, call in METHODS.items()
            for of, steps in (("", stated.dynamics), (", tape", stated.taped))
        }
        others = _of_peers(kind, stated)
        found = {name: arrays(call().grad) for name, call in methods.items()}
        require_agreement(found | {name: [call()] for name, call in others.items()}, TOLERANCE)
        walks = {
            name: partial(torch.no_grad()(run), steps, stated.lam, STEPS)
            for name, steps in (("walk", stated.dynamics), ("walk, tape", stated.taped))
        }
        sizes = f"n = {EXAMPLES}, {FEATURES} x {HIDDEN} x {CLASSES}, T = {STEPS}, {kind}"
        yield compare("strength of each layer of a network", sizes, {**walks, **methods, **others}, rounds)


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

    model = mlp(FEATURES, (HIDDEN,), CLASSES)
    layers: Tree = [{"weight": w, "bias": b} for w, b in (start[:2], start[2:])]

    def loss(w: Tree, examples: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model.apply(w, examples[0]), examples[1])

    def taped(w: Tree, lam: Tree, rows: Rows = ALL) -> Tensor:
        return loss(w, train) + penalty(w, strength_of(lam))

    targets = functional.one_hot(train[1], CLASSES).to(train[0])
    fitted = with_fit_gradient(taped, model, SOFTMAX, targets, inputs=lambda lam, rows: train[0], penalized=penalized)
    inner = taking(lambda w, lam: (w, lam, ALL), fitted)
    problem = Problem(inner, lambda w, lam: loss(w, validation), lambda lam: layers)
    written, plain = (KINDS[kind](dynamics.full_batch(each), problem.init) for each in (inner, taped))
    return Stated(problem, written, plain, {STRENGTH: torch.tensor([-5.0, -5.0])}, start, train, validation)


def _of_peers(kind: str, stated: Stated) -> dict[str, Callable[[], Any]]:
    module = peers("small_networks")
    if module is None:
        return {}
    network = module.Network(entry(stated.lam, STRENGTH), stated.start, stated.train, stated.validation, STEPS)
    return {name: make(network) for name, make in module.PEERS[kind].items()}
