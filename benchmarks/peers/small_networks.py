"""The strengths of a network's layers with higher, TorchOpt and JAX, as their documentation teaches.

Each function gives a call that returns the hypergradient [2] of the mean validation loss.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import higher
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torchopt
from torch import Tensor, nn
from torch.nn import functional

Call = Callable[[], np.ndarray]
RATES = {"gradient descent": 0.1, "Adam": 0.01}
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Network(NamedTuple):
    """The outer variables, where the inner ones start, the data, and the inner steps."""

    lam: Tensor
    start: list[Tensor]
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    steps: int


class _Layers(nn.Module):
    """Two affine layers, tanh between them."""

    def __init__(self, start: list[Tensor]) -> None:
        super().__init__()
        self.w1, self.b1, self.w2, self.b2 = (nn.Parameter(leaf.clone()) for leaf in start)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.b2, torch.tanh(torch.addmm(self.b1, x, self.w1)), self.w2)


def with_higher(problem: Network) -> Call:
    """A differentiable SGD."""

    def call() -> np.ndarray:
        lam, model = problem.lam.clone().requires_grad_(), _Layers(problem.start)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATES["gradient descent"])
        with higher.innerloop_ctx(model, optimizer) as (fitted, differentiable):
            for _ in range(problem.steps):
                differentiable.step(_inner(problem, fitted, lam))
            return _hypergradient(problem, fitted, lam)

    return call


def with_torchopt(problem: Network, kind: str) -> Call:
    """`MetaSGD` or `MetaAdam`, whose epsilon can stand under the root as ours does."""

    def call() -> np.ndarray:
        lam, model = problem.lam.clone().requires_grad_(), _Layers(problem.start)
        rate = RATES[kind]
        adam = kind == "Adam"
        optimizer = (
            torchopt.MetaAdam(model, lr=rate, betas=BETAS, eps=0.0, eps_root=EPSILON)
            if adam
            else torchopt.MetaSGD(model, lr=rate)
        )
        for _ in range(problem.steps):
            optimizer.step(_inner(problem, model, lam))
        return _hypergradient(problem, model, lam)

    return call


def _inner(problem: Network, model: Any, lam: Tensor) -> Tensor:
    x, labels = problem.train
    squares = torch.stack([model.w1.square().sum(), model.w2.square().sum()])
    return functional.cross_entropy(model(x), labels) + (lam.exp() * squares).sum() / 2


def _hypergradient(problem: Network, model: Any, lam: Tensor) -> np.ndarray:
    x, labels = problem.validation
    return torch.autograd.grad(functional.cross_entropy(model(x), labels), lam)[0].numpy()


def with_jax(problem: Network, kind: str) -> Call:
    """Reverse mode through a jitted `scan`."""
    gradient, lam = jax.jit(jax.grad(_jax_objective(problem, kind))), jnp.asarray(problem.lam.numpy())
    return lambda: np.asarray(jax.block_until_ready(gradient(lam)))


def _jax_objective(problem: Network, kind: str) -> Callable[[Any], Any]:
    start = tuple(jnp.asarray(leaf.numpy()) for leaf in problem.start)

    def loss(w: Any, examples: Any) -> Any:
        x, labels = examples
        scores = jnp.tanh(x @ w[0] + w[1]) @ w[2] + w[3]
        return -jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], 1).mean()

    train, validation = (
        (jnp.asarray(x.numpy()), jnp.asarray(labels.numpy())) for x, labels in (problem.train, problem.validation)
    )

    def objective(lam: Any) -> Any:
        def inner(w: Any) -> Any:
            strength = jnp.exp(lam)
            return loss(w, train) + (strength[0] * (w[0] ** 2).sum() + strength[1] * (w[2] ** 2).sum()) / 2

        def descent(state: Any, _: Any) -> Any:
            w, *rest = state
            return (jax.tree.map(lambda w, g: w - RATES[kind] * g, w, jax.grad(inner)(w)), *rest), None

        def adam(state: Any, t: Any) -> Any:
            w, first, second = state
            g, (beta1, beta2) = jax.grad(inner)(w), BETAS
            first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, g)
            second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, g)

            def move(w: Any, m: Any, v: Any) -> Any:
                return w - RATES[kind] * m / (1 - beta1**t) * jax.lax.rsqrt(v / (1 - beta2**t) + EPSILON)

            return (jax.tree.map(move, w, first, second), first, second), None

        zeros = jax.tree.map(jnp.zeros_like, start)
        step = adam if kind == "Adam" else descent
        (w, *_), _ = jax.lax.scan(step, (start, zeros, zeros), jnp.arange(1.0, problem.steps + 1))
        return loss(w, validation)

    return objective


PEERS: dict[str, dict[str, Callable[[Network], Call]]] = {
    "gradient descent": {
        "higher": with_higher,
        "TorchOpt": partial(with_torchopt, kind="gradient descent"),
        "JAX scan": partial(with_jax, kind="gradient descent"),
    },
    "Adam": {"TorchOpt": partial(with_torchopt, kind="Adam"), "JAX scan": partial(with_jax, kind="Adam")},
}
