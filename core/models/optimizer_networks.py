"""Networks that make the steps of an optimizer, one coordinate at a time (Andrychowicz et al. 2016).

(g_t, h_t) = N(grad_t, h_{t-1}) for every coordinate of every task, with shared parameters and a memory h of its own.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.initialization import glorot
from core.models.linear import affine
from core.models.mlp import mlp


class OptimizerNetwork(NamedTuple):
    """An optimizer as functions; parameters [tasks, n] are those of many tasks, stacked."""

    init: Callable[[Generator], Tree]
    """Its own parameters at the start, on the CPU."""
    rest: Callable[[Tensor], Tree]
    """Parameters of the tasks -> h_0, zeros."""
    update: Callable[[Tree, Tensor, Tree], tuple[Tensor, Tree]]
    """(its own parameters, gradient [tasks, n], h) -> (step [tasks, n], h)."""


def log_and_sign(x: Tensor, log_range: float) -> Tensor:
    """x [..., F] -> [..., 2F]: log |x| / p and sign x where |x| >= exp(-p), else -1 and exp(p) x; continuous."""
    least = math.exp(-log_range)
    return torch.cat([x.abs().clamp(min=least).log() / log_range, (x / least).clamp(-1, 1)], dim=-1)


def lstm_optimizer(
    hidden: int, layers: int, *, scale: float, log_range: float, dtype: torch.dtype = torch.float32
) -> OptimizerNetwork:
    """Layers of LSTM (Hochreiter and Schmidhuber 1997), forget gates biased by 1 at the start, and an affine layer."""

    def init(generator: Generator) -> Tree:
        cells: list[Tree] = [_cell(inputs, hidden, generator, dtype) for inputs in (2, *[hidden] * (layers - 1))]
        weight = glorot((hidden, 1), hidden, 1, generator, dtype)
        return {"cells": cells, "output": {"weight": weight, "bias": torch.zeros(1, dtype=dtype)}}

    def rest(parameters: Tensor) -> Tree:
        zeros = parameters.new_zeros(*parameters.shape, hidden)
        return [(zeros, zeros) for _ in range(layers)]

    def update(own: Tree, gradient: Tensor, memory: Tree) -> tuple[Tensor, Tree]:
        named = cast(dict[str, Tree], own)
        x, kept = log_and_sign(gradient.unsqueeze(-1), log_range), []
        for cell, remembered in zip(cast(list[Tree], named["cells"]), cast(list[Tree], memory), strict=True):
            x, state = _lstm(cell, x, *cast(tuple[Tensor, Tensor], remembered))
            kept.append((x, state))
        return scale * affine(named["output"], x).squeeze(-1), cast(Tree, kept)

    return OptimizerNetwork(init, rest, update)


def _cell(inputs: int, hidden: int, generator: Generator, dtype: torch.dtype) -> Tree:
    """Weights Glorot, [rows, 4 hidden]: input, forget and output gate, and the candidate."""
    bias = torch.zeros(4, hidden, dtype=dtype)
    bias[1] = 1
    return {
        "input": glorot((inputs, 4 * hidden), inputs, hidden, generator, dtype),
        "hidden": glorot((hidden, 4 * hidden), hidden, hidden, generator, dtype),
        "bias": bias.flatten(),
    }


def _lstm(cell: Tree, x: Tensor, output: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """c = forget c + input candidate, h = out tanh(c)."""
    named = cast(dict[str, Tensor], cell)
    gates = x @ named["input"] + output @ named["hidden"] + named["bias"]
    # A pass over a quarter of every row takes twice as long as one over the same numbers in one piece.
    enter, keep, out, candidate = (gate.contiguous() for gate in gates.chunk(4, dim=-1))
    state = keep.sigmoid() * state + enter.sigmoid() * candidate.tanh()
    return out.sigmoid() * state.tanh(), state


def mlp_optimizer(
    hidden: Sequence[int],
    decays: Sequence[float],
    *,
    rate: float,
    scale: float,
    log_range: float,
    dtype: torch.dtype = torch.float32,
) -> OptimizerNetwork:
    """step = <a, x> + scale N(log and sign of x), x the gradient and its running means; at the start -rate gradient."""
    size = 1 + len(decays)
    network = mlp(2 * size, hidden, 1, dtype=dtype)

    def init(generator: Generator) -> Tree:
        *inside, last = cast(list[dict[str, Tensor]], network.init(generator))
        direct = torch.zeros(size, dtype=dtype)
        direct[0] = -rate
        silent = {name: torch.zeros_like(leaf) for name, leaf in last.items()}
        return {"direct": direct, "network": cast(Tree, [*inside, silent])}

    def rest(parameters: Tensor) -> Tree:
        return parameters.new_zeros(*parameters.shape, len(decays))

    def update(own: Tree, gradient: Tensor, memory: Tree) -> tuple[Tensor, Tree]:
        named = cast(dict[str, Tree], own)
        seen, decay = gradient.unsqueeze(-1), gradient.new_tensor(decays)
        means = decay * cast(Tensor, memory) + (1 - decay) * seen
        x = torch.cat([seen, means], dim=-1)
        silent_at_first = network.apply(named["network"], log_and_sign(x, log_range)).squeeze(-1)
        return x @ cast(Tensor, named["direct"]) + scale * silent_at_first, means

    return OptimizerNetwork(init, rest, update)
