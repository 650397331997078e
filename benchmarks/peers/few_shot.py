"""The few-shot hyperiteration with higher, TorchOpt and JAX: conv4 features, a zero linear softmax head for each task.

Each function takes the meta-batch and returns a call that gives d/dlam of the mean query loss after T steps. Features
are computed once for all tasks, which is the best that each library can do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import higher
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torchopt
from torch import Tensor, nn
from torch.nn import functional

from core.bilevel import trees
from core.bilevel.problem import Tree
from core.models.norm import EPSILON

Call = Callable[[], list[np.ndarray]]
"""The hypergradient, leaf by leaf."""


class Batch(NamedTuple):
    """What the hyperiteration works on."""

    embed: Callable[[Tree], Tree]
    """lam -> {"support", "query"}, features [B, n, F]; the torch peers use our network."""
    lam: Tree
    support: Tensor
    query: Tensor
    support_labels: Tensor
    query_labels: Tensor
    way: int
    rate: float
    steps: int


def with_higher(batch: Batch) -> Call:
    """`innerloop_ctx` around a head for each task."""

    def fit(x: Tensor, q: Tensor, way: int) -> Tensor:
        head = _zero_head(x, way)
        optimizer = torch.optim.SGD(head.parameters(), lr=batch.rate)
        with higher.innerloop_ctx(head, optimizer) as (functional_head, differentiable):
            for _ in range(batch.steps):
                differentiable.step(functional.cross_entropy(functional_head(x), batch.support_labels))
            return functional.cross_entropy(functional_head(q), batch.query_labels)

    return _through_features(batch, fit)


def with_torchopt(batch: Batch) -> Call:
    """`MetaSGD` on a head for each task."""

    def fit(x: Tensor, q: Tensor, way: int) -> Tensor:
        head = _zero_head(x, way)
        optimizer = torchopt.MetaSGD(head, lr=batch.rate)
        for _ in range(batch.steps):
            optimizer.step(functional.cross_entropy(head(x), batch.support_labels))
        return functional.cross_entropy(head(q), batch.query_labels)

    return _through_features(batch, fit)


def _through_features(batch: Batch, fit: Callable[[Tensor, Tensor, int], Tensor]) -> Call:
    def call() -> list[np.ndarray]:
        lam = trees.map_leaves(lambda leaf: leaf.detach().requires_grad_(), batch.lam)
        z: Any = batch.embed(lam)
        losses = [fit(x, q, batch.way) for x, q in zip(z["support"], z["query"], strict=True)]
        return [leaf.numpy() for leaf in torch.autograd.grad(torch.stack(losses).mean(), trees.leaves(lam))]

    return call


def _zero_head(x: Tensor, way: int) -> nn.Linear:
    head = nn.Linear(x.shape[-1], way, dtype=x.dtype)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def with_jax(batch: Batch) -> Call:
    """`scan` over the steps, `vmap` over the tasks, all of it jitted."""
    double = batch.support.dtype == torch.float64
    with jax.enable_x64(double):
        gradient = _jax_gradient(batch)

    def call() -> list[np.ndarray]:
        with jax.enable_x64(double):
            return gradient()

    return call


def _jax_gradient(batch: Batch) -> Call:
    layers = cast("list[dict[str, Tensor]]", batch.lam)
    lam = [{name: jnp.asarray(leaf.numpy()) for name, leaf in layer.items()} for layer in layers]
    support, query = jnp.asarray(batch.support.numpy()), jnp.asarray(batch.query.numpy())
    targets, query_targets = (
        jax.nn.one_hot(jnp.asarray(labels.numpy()), batch.way) for labels in (batch.support_labels, batch.query_labels)
    )

    def inner(w: Any, x: Any) -> Any:
        return _jax_cross_entropy(x @ w["weight"] + w["bias"], targets)

    def task_loss(x: Any, q: Any) -> Any:
        start = {"weight": jnp.zeros((x.shape[-1], batch.way)), "bias": jnp.zeros(batch.way)}

        def step(w: Any, _: None) -> tuple[Any, None]:
            return jax.tree.map(lambda v, g: v - batch.rate * g, w, jax.grad(inner)(w, x)), None

        w, _ = jax.lax.scan(step, start, None, length=batch.steps)
        return _jax_cross_entropy(q @ w["weight"] + w["bias"], query_targets)

    def objective(lam: Any) -> Any:
        return jax.vmap(task_loss)(_jax_features(lam, support), _jax_features(lam, query)).mean()

    gradient = jax.jit(jax.grad(objective))

    def call() -> list[np.ndarray]:
        found = jax.block_until_ready(gradient(lam))
        return [np.asarray(found[i][name]) for i, layer in enumerate(layers) for name in layer]  # JAX sorts the names

    return call


def _jax_features(layers: Any, images: Any) -> Any:
    groups, n = images.shape[:2]
    x = images.reshape(-1, *images.shape[2:])
    for layer in layers:
        x = jax.lax.conv_general_dilated(x, layer["weight"], (2, 2), ((1, 1), (1, 1)))
        grouped = x.reshape(groups, n, *x.shape[1:])
        mean = grouped.mean((1, 3, 4), keepdims=True)
        variance = jnp.square(grouped - mean).mean((1, 3, 4), keepdims=True)
        scale, offset = (layer[name][:, None, None] for name in ("scale", "offset"))
        x = jax.nn.relu((grouped - mean) * jax.lax.rsqrt(variance + EPSILON) * scale + offset).reshape(x.shape)
    return x.reshape(groups, n, -1)


def _jax_cross_entropy(scores: Any, targets: Any) -> Any:
    return -(jax.nn.log_softmax(scores) * targets).sum(-1).mean()


PEERS: dict[str, Callable[[Batch], Call]] = {"higher": with_higher, "TorchOpt": with_torchopt, "JAX scan": with_jax}
