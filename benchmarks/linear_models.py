"""Softmax regression by analytic steps, against the plain walk of the same inner steps and against the plain methods.

Per-example weights (as many outer variables as examples), and two outer variables: log-strength and log-rate.
Random data stand for images: speed does not depend on what is drawn.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.agreement import arrays, require_agreement
from benchmarks.measure import Comparison, compare
from benchmarks.peers import peers
from core.bilevel import dynamics, hypergradients, linear_models, trees
from core.bilevel.linear_models import SOFTMAX, LinearModel
from core.bilevel.linear_models.walk import Rate, coefficients, stepping
from core.bilevel.problem import Dynamics, Hypergradient, Method, Problem, Tree

CLASSES = 10
RATE, STRENGTH = 0.5, 1e-3
TOLERANCE = 1e-4
"""Largest relative difference between the hypergradients that are compared, in float32."""
GRAPHS_UP_TO = 1e9
"""examples * features * steps beyond which the plain methods are left out: they would take minutes a round."""


class Setting(NamedTuple):
    """Sizes of a workload."""

    examples: int
    features: int
    steps: int

    def __str__(self) -> str:
        return f"n = {self.examples}, d = {self.features}, C = {CLASSES}, T = {self.steps}"


class Stated(NamedTuple):
    """A bilevel problem, with both dynamics."""

    problem: Problem
    model: LinearModel
    rate: Rate
    textbook: Dynamics
    analytic: Dynamics
    lam: Tree
    validation: tuple[Tensor, Tensor]
    """Features and labels."""


def main(rounds: int) -> Iterator[Comparison]:
    """Per-example weights at two lengths, two outer variables at two sizes."""
    for setting in (Setting(5000, 784, 100), Setting(5000, 784, 1000)):
        yield _compare("per-example weights", setting, _weights(setting), rounds)
    for setting in (Setting(500, 50, 10_000), Setting(5000, 784, 1000)):
        yield _compare("log-strength and log-rate", setting, _two(setting), rounds)


def _compare(workload: str, setting: Setting, stated: Stated, rounds: int) -> Comparison:
    problem, steps, size = stated.problem, setting.steps, trees.leaves(stated.lam)[0].numel()

    def analytic(method: Callable[..., Hypergradient], **knobs: Any) -> Callable[[], Hypergradient]:
        return partial(method, problem, stated.analytic, stated.lam, steps=steps, **knobs)

    methods = {
        "analytic reverse": analytic(linear_models.reverse, rate=stated.rate),
        "analytic reverse, segments": analytic(linear_models.reverse, rate=stated.rate, segment="auto"),
    }
    if size == 1:
        push = partial(linear_models.push, rate=stated.rate)
        methods["analytic forward"] = analytic(hypergradients.forward, push=push)
    if setting.examples * setting.features * steps <= GRAPHS_UP_TO:
        plain: dict[str, Method] = {"plain reverse": hypergradients.reverse, "unrolled": hypergradients.unrolled}
        for name, method in plain.items():
            methods[name] = partial(method, problem, stated.textbook, stated.lam, steps=steps)
    found = {name: arrays(method().grad) for name, method in methods.items()}
    others = _of_peers(stated, steps)
    found |= {name: list(call().values()) for name, call in others.items()}
    require_agreement(found, TOLERANCE)
    walks = {
        "walk": lambda: walk(stated, steps),
        "textbook walk": lambda: textbook_walk(stated, steps),
    }
    return compare(workload, str(setting), {**walks, **methods, **others}, rounds)


@torch.no_grad()
def walk(stated: Stated, steps: int) -> Tensor:
    """V_T by the steps that the analytic methods take."""
    step = stepping(stated.model, coefficients(stated.model, stated.rate, stated.lam))
    v = stated.model.matrix(stated.problem.init(stated.lam)).mT.contiguous()
    for _ in range(steps):
        v = step(v)
    return v


@torch.no_grad()
def textbook_walk(stated: Stated, steps: int) -> Tensor:
    """W_T as one would write it down: X W, then X' R."""
    model, lam = stated.model, stated.lam
    rate = stated.rate(lam) if callable(stated.rate) else stated.rate
    w = model.matrix(stated.problem.init(lam))
    for _ in range(steps):
        residual = model.scale(lam) * (model.loss.mean(model.x @ w, -1) - model.targets)
        w = w - rate * (model.x.T @ residual + model.strengths(lam) * w)
    return w


def _of_peers(stated: Stated, steps: int) -> dict[str, Callable[[], Any]]:
    module = peers("linear_models")
    if module is None:
        return {}
    lam, model = cast("dict[str, Tensor]", stated.lam), stated.model
    regression = module.Regression(
        model.x,
        model.targets.argmax(-1),
        *stated.validation,
        classes=CLASSES,
        lam=lam,
        strength=STRENGTH,
        rate=RATE,
        steps=steps,
    )
    names = ["higher", "JAX scan"] + (["JAX forward"] if "log_rate" in lam else ["TorchOpt"])
    return {name: module.PEERS[name](regression) for name in names}  # each in the order of lam


def _weights(setting: Setting) -> Stated:
    lam: Tree = {"logit_weight": torch.zeros(setting.examples)}
    return _stated(
        setting,
        lam,
        RATE,
        strengths=lambda lam: torch.full((1, 1), STRENGTH),
        weights=lambda lam: lam["logit_weight"].sigmoid(),
    )


def _two(setting: Setting) -> Stated:
    lam: Tree = {"log_strength": torch.tensor(-5.0), "log_rate": torch.tensor(-0.7)}
    return _stated(setting, lam, lambda lam: lam["log_rate"].exp(), strengths=lambda lam: lam["log_strength"].exp())


def _stated(
    setting: Setting,
    lam: Tree,
    rate: Any,
    *,
    strengths: Callable[[Any], Tensor],
    weights: Callable[[Any], Tensor] | None = None,
) -> Stated:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(setting.features, CLASSES, generator=generator)

    def draw(examples: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(examples, setting.features, generator=generator) / setting.features**0.5
        noise = torch.randn(examples, CLASSES, generator=generator)
        return x, (x @ truth + noise).argmax(-1)

    (x, labels), (x_validation, labels_validation) = draw(setting.examples), draw(setting.examples)
    model = LinearModel(x, functional.one_hot(labels, CLASSES).float(), SOFTMAX, strengths, weights)
    start: Tree = {"weight": x.new_zeros(setting.features, CLASSES)}

    def outer(w: Any, lam: Tree) -> Tensor:
        return functional.cross_entropy(x_validation @ w["weight"], labels_validation)

    problem = Problem(model.objective, outer, lambda lam: start, linear=model)
    scalar = (lambda t, lam: rate(lam)) if callable(rate) else rate
    textbook = dynamics.gradient_descent(dynamics.full_batch(model.objective), problem.init, rate=scalar)
    analytic = linear_models.gradient_descent(model, problem.init, rate=rate)
    return Stated(problem, model, rate, textbook, analytic, lam, (x_validation, labels_validation))
