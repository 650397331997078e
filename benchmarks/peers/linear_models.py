"""Softmax regression with few or many hyperparameters, with higher, TorchOpt and JAX.

L(w, lam) = mean weight_i CE_i(w) + strength/2 ||w||^2 under gradient descent from 0; each function gives a call that
returns the hypergradient of the mean validation loss by name.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import higher
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torchopt
from torch import Tensor, nn
from torch.nn import functional

Call = Callable[[], dict[str, np.ndarray]]


class Regression(NamedTuple):
    """The data, the outer variables, and what is fixed."""

    x: Tensor
    y: Tensor
    x_validation: Tensor
    y_validation: Tensor
    classes: int
    lam: Mapping[str, Tensor]
    """Some of "logit_weight" [n], "log_strength" [], "log_rate" []."""
    strength: float
    rate: float
    steps: int


class _Scores(nn.Module):
    """x W with W = 0 at the start."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, classes))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def with_higher(problem: Regression) -> Call:
    """A differentiable SGD whose rate is overridden where it is learned."""

    def call() -> dict[str, np.ndarray]:
        lam, model = _leaves(problem), _Scores(problem.x.shape[1], problem.classes)
        optimizer = torch.optim.SGD(model.parameters(), lr=problem.rate)
        override = {"lr": [lam["log_rate"].exp()]} if "log_rate" in lam else None
        with higher.innerloop_ctx(model, optimizer, override=override) as (fitted, differentiable):
            for _ in range(problem.steps):
                differentiable.step(_inner(problem, fitted(problem.x), fitted.weight, lam))
            return _hypergradient(problem, fitted(problem.x_validation), lam)

    return call


def with_torchopt(problem: Regression) -> Call:
    """`MetaSGD`, whose rate is a number."""

    def call() -> dict[str, np.ndarray]:
        lam, model = _leaves(problem), _Scores(problem.x.shape[1], problem.classes)
        optimizer = torchopt.MetaSGD(model, lr=problem.rate)
        for _ in range(problem.steps):
            optimizer.step(_inner(problem, model(problem.x), model.weight, lam))
        return _hypergradient(problem, model(problem.x_validation), lam)

    return call


def _leaves(problem: Regression) -> dict[str, Tensor]:
    return {name: value.detach().clone().requires_grad_() for name, value in problem.lam.items()}


def _inner(problem: Regression, scores: Tensor, w: Tensor, lam: Mapping[str, Tensor]) -> Tensor:
    each = functional.cross_entropy(scores, problem.y, reduction="none")
    if "logit_weight" in lam:
        each = lam["logit_weight"].sigmoid() * each
    strength = lam["log_strength"].exp() if "log_strength" in lam else problem.strength
    return each.mean() + strength / 2 * (w * w).sum()


def _hypergradient(problem: Regression, scores: Tensor, lam: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    found = torch.autograd.grad(functional.cross_entropy(scores, problem.y_validation), list(lam.values()))
    return {name: leaf.numpy() for name, leaf in zip(lam, found, strict=True)}


def with_jax(problem: Regression) -> Call:
    """Reverse mode through a jitted `scan`."""
    gradient = jax.jit(jax.grad(_jax_objective(problem)))
    return _jax_call(gradient, problem)


def with_jax_forward(problem: Regression) -> Call:
    """Forward mode through a jitted loop: for few outer variables."""
    return _jax_call(jax.jit(jax.jacfwd(_jax_objective(problem))), problem)


def _jax_call(gradient: Callable[..., Any], problem: Regression) -> Call:
    lam = {name: jnp.asarray(value.numpy()) for name, value in problem.lam.items()}

    def call() -> dict[str, np.ndarray]:
        found = jax.block_until_ready(gradient(lam))
        return {name: np.asarray(found[name]) for name in lam}  # JAX sorts the names

    return call


def _jax_objective(problem: Regression) -> Callable[[Any], Any]:
    x, xv = jnp.asarray(problem.x.numpy()), jnp.asarray(problem.x_validation.numpy())
    targets, validation = (
        jax.nn.one_hot(jnp.asarray(labels.numpy()), problem.classes) for labels in (problem.y, problem.y_validation)
    )

    def losses(scores: Any, wanted: Any) -> Any:
        return -(jax.nn.log_softmax(scores) * wanted).sum(-1)

    def inner(w: Any, lam: Any) -> Any:
        each = losses(x @ w, targets)
        if "logit_weight" in lam:
            each = jax.nn.sigmoid(lam["logit_weight"]) * each
        strength = jnp.exp(lam["log_strength"]) if "log_strength" in lam else problem.strength
        return each.mean() + strength / 2 * (w * w).sum()

    def objective(lam: Any) -> Any:
        rate = jnp.exp(lam["log_rate"]) if "log_rate" in lam else problem.rate

        def step(w: Any, _: None) -> tuple[Any, None]:
            return w - rate * jax.grad(inner)(w, lam), None

        w, _ = jax.lax.scan(step, jnp.zeros((x.shape[1], problem.classes)), None, length=problem.steps)
        return losses(xv @ w, validation).mean()

    return objective


PEERS: dict[str, Callable[[Regression], Call]] = {
    "higher": with_higher,
    "TorchOpt": with_torchopt,
    "JAX scan": with_jax,
    "JAX forward": with_jax_forward,
}
"""TorchOpt cannot learn the rate; forward mode is for few outer variables."""
