"""What cross-fitting saves: the variance of the hypergradient by the meta-batch, and what it costs in time.

On Omniglot, at the initial representation and after some hyperiterations. Variance: the mean of ||g - mean g||^2 over
meta-batches g; what it is divided by is how many times larger meta-batches would have to be.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.measure import Comparison, compare
from core.bilevel import trees
from core.bilevel.problem import Tree
from core.build import build, make_context
from core.inner import build_inner
from core.methods import build_method
from core.settings import settings
from core.spec import Experiment

SETTINGS: dict[str, dict[str, int]] = {
    "5-way 1-shot, 5 queries": {"way": 5, "shot": 1, "query": 5, "meta_batch": 4},
    "20-way 1-shot, 5 queries": {"way": 20, "shot": 1, "query": 5, "meta_batch": 1},
    "5-way 5-shot, 5 queries": {"way": 5, "shot": 5, "query": 5, "meta_batch": 2},
}
MODEL = {"kind": "conv4", "filters": 64, "norm_scale": False}
STEPS = 64
TRAINED = 200
"""Hyperiterations after which the variance is measured again."""
MEASURED = 100
"""Meta-batches that it is measured on."""


class Stated(NamedTuple):
    """One experiment, with or without."""

    hypergradient: Callable[[int, Tree], Tensor]
    """(k, lam) -> that of the meta-batch of hyperiteration k, flat."""
    step: Callable[[int, Any], Any]
    start: Any
    """Of the algorithm."""


def main(rounds: int) -> Iterator[Comparison]:
    """A table of variances, and the times, for each setting."""
    for name, setting in SETTINGS.items():
        plain, crossed = (stated(setting, cross_fitting=crossed) for crossed in (False, True))
        state = plain.start
        for trained in (0, TRAINED):
            for k in range(trained):
                state = plain.step(k, state)
            without, with_it = (variance(each, state.lam) for each in (plain, crossed))
            print(f"  {name}, after {trained} hyperiterations: variance {without:.3g} / {with_it:.3g} = ", end="")
            print(f"{without / with_it:.2f}", flush=True)
        calls = {"plain": plain, "cross-fitting": crossed}
        candidates = {label: _call(each, state.lam) for label, each in calls.items()}
        yield compare("cross-fitting", f"{name}, T = {STEPS}", candidates, rounds)


def stated(setting: dict[str, int], *, cross_fitting: bool) -> Stated:
    """As the loop would build it."""
    spec = Experiment.model_validate(
        {
            "problem": {"kind": "hyper_representation", "model": MODEL, **setting, "cross_fitting": cross_fitting},
            "algorithm": {
                "steps": STEPS,
                "dynamics": {"kind": "gradient_descent", "rate": 0.01},
                "optimizer": {"kind": "adam", "rate": 0.001},
            },
        }
    )
    places: dict[str, Any] = {"device": "cpu", "data_dir": settings().data_dir}
    built, context = build(spec, **places), make_context(spec, **places)
    method = build_method(spec, build_inner(spec.algorithm), context).at(0, ())

    def hypergradient(k: int, lam: Tree) -> Tensor:
        found = method(*built.instance.at(k), lam, steps=STEPS)
        flat: Tensor = trees.ravel(found.grad)[0]
        return flat

    return Stated(
        hypergradient, lambda k, state: built.algorithm.step(k, state)[0], built.algorithm.init(built.instance.initial)
    )


def variance(each: Stated, lam: Tree) -> float:
    """Of the hypergradient, over meta-batches that are drawn for it; the same ones with and without."""
    drawn = torch.stack([each.hypergradient(10_000 + k, lam).double() for k in range(MEASURED)])
    return float(drawn.var(0).sum())


def _call(each: Stated, lam: Tree) -> Callable[[], object]:
    return lambda: each.hypergradient(0, lam)
