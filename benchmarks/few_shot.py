"""A few-shot hyperiteration against its floor.

Floor: one forward and one backward pass of the same network over the same images in the same layout, and the same
optimizer step. Random images stand for Omniglot: speed does not depend on what is drawn.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.agreement import arrays, require_agreement
from benchmarks.measure import Comparison, compare
from benchmarks.peers import peers
from core.bilevel import trees
from core.bilevel.derivatives import vjp_once
from core.bilevel.optimizers import adam
from core.bilevel.problem import Algorithm, AlgorithmState, MethodSeries
from core.build import build_algorithm, build_representation, make_context
from core.datasets.class_images import Loaded
from core.datasets.class_sets import ClassImages
from core.inner import build_inner
from core.methods import build_method
from core.problems.hyper_representation import FewShot, heads, network
from core.problems.instance import HIGHEST_ACCURACY, Instance
from core.problems.sampling import Sampling
from core.recording import MemoryRecorder
from core.series import Series
from core.spec import Experiment
from core.spec.problems import HyperRepresentation

STEPS = (1, 5, 16, 64, 256)
OFTEN = 16
"""Inner steps of what is measured at one number of them only."""
RATE = 0.02
OUTER_RATE = 1e-3
OPTIMIZER = adam(rate=lambda k: OUTER_RATE)
SETTINGS: tuple[dict[str, int], ...] = (
    {"way": 5, "shot": 1, "meta_batch": 4},
    {"way": 5, "shot": 1, "meta_batch": 16},
    {"way": 20, "shot": 5, "meta_batch": 4},
)
PEERS_AT = {4: (1, 16, 64, 256), 16: (64,)}
"""Meta-batch of 5-way 1-shot -> inner steps at which peers are measured; with other tasks, at 64."""
TOLERANCE = 1e-8
"""Largest relative difference between the hypergradients that are compared, in float64.

In float32 round-off may move a unit over its ReLU's kink, and one in the last block changes the hypergradient by a per
cent: in float64, too, if lam is moved by 1e-6.
"""
CLASSES = 40
"""Classes of random images that episodes are drawn from."""


class Stated(NamedTuple):
    """An experiment on random images."""

    few_shot: FewShot
    methods: MethodSeries
    algorithm: Algorithm
    state: AlgorithmState


def main(rounds: int) -> Iterator[Comparison]:
    """Three settings: numbers of inner steps, chunks of tasks, formats, and the whole loop as users run it."""
    for setting in SETTINGS:
        name = f"{setting['way']}-way {setting['shot']}-shot, meta-batch {setting['meta_batch']}"
        yield compare(
            "few-shot hyperiteration", f"{name}, {torch.get_num_threads()} threads", candidates(setting), rounds
        )


def candidates(setting: dict[str, int]) -> dict[str, Callable[[], object]]:
    """The floor, and what is measured against it."""
    found = {"floor": floor(state(setting, OFTEN))}
    found |= {f"dual walk, T = {steps}": hyperiteration(state(setting, steps)) for steps in STEPS}
    plain = state(setting, OFTEN, hypergradient={"kind": "reverse", "segment": OFTEN})
    found[f"plain reverse, T = {OFTEN}"] = hyperiteration(plain)
    found[f"a task at a time, T = {OFTEN}"] = hyperiteration(state({**setting, "task_chunk": 1}, OFTEN))
    found[f"bf16, T = {OFTEN}"] = hyperiteration(state(setting, OFTEN, resources={"precision": "bf16"}))
    found[f"whole loop, T = {OFTEN}"] = whole_loop(state(setting, OFTEN))
    for steps in PEERS_AT[setting["meta_batch"]] if setting["way"] == 5 else (64,):
        found |= {f"{name}, T = {steps}": call for name, call in of_peers(setting, steps).items()}
    return found


def of_peers(setting: dict[str, int], steps: int) -> dict[str, Callable[[], object]]:
    """The same hypergradient by other libraries, without the optimizer's step, once they agree with ours in float64."""
    module = peers("few_shot")
    if module is None:
        return {}
    exact = state(setting, steps, resources={"precision": "float64"})
    problem, dynamics = exact.few_shot.at(0)
    ours = exact.methods.at(0, ())(problem, dynamics, exact.state.lam, steps=steps).grad
    others = {name: make(_batch(module, exact))() for name, make in module.PEERS.items()}
    require_agreement({"dual walk": arrays(ours), **others}, TOLERANCE)
    batch = _batch(module, state(setting, steps))
    return {name: make(batch) for name, make in module.PEERS.items()}


def _batch(module: Any, stated: Stated) -> Any:
    """The first meta-batch as the peers take it."""
    problem, _ = stated.few_shot.at(0)
    embed, tasks, labels = problem.embed, problem.tasks, stated.few_shot.heads
    assert embed is not None
    assert tasks is not None
    assert isinstance(tasks.data, dict)
    return module.Batch(
        lambda representation: embed({"representation": representation}),
        network(stated.state.lam),
        **tasks.data,
        support_labels=labels.support_labels,
        query_labels=labels.query_labels,
        way=labels.way,
        rate=RATE,
        steps=stated.few_shot.inner.steps,
    )


def state(
    setting: dict[str, int],
    steps: int,
    *,
    resources: dict[str, Any] | None = None,
    device: str = "cpu",
    **algorithm: Any,
) -> Stated:
    """Builds the experiment as the loop would."""
    spec = Experiment.model_validate(
        {
            "problem": {"kind": "hyper_representation", **setting},
            "algorithm": {
                "steps": steps,
                "dynamics": {"kind": "gradient_descent", "rate": RATE},
                "optimizer": {"kind": "adam", "rate": OUTER_RATE},
                **algorithm,
            },
            "resources": resources or {},
        }
    )
    assert isinstance(spec.problem, HyperRepresentation)
    context = make_context(spec, device=device, data_dir=Path())
    inner = build_inner(spec.algorithm)
    model = build_representation(spec.problem.model, spec.problem.dataset, context.dtype)
    drawn = (torch.randint(256, (CLASSES, 20, 1, 28, 28), dtype=torch.uint8) for _ in range(3))
    images = ClassImages(*(context.place(each) for each in drawn))
    sampling = Sampling(spec.problem, context, Loaded(images, None))
    few_shot = FewShot(spec.problem, model, inner, context, sampling, heads(spec.problem, context))
    methods = build_method(spec, inner, context)
    lam = context.place({"representation": model.init(torch.Generator().manual_seed(0))})
    instance = Instance(lam, few_shot.at, few_shot.scoring().evaluate, HIGHEST_ACCURACY, inner.natural)
    made = build_algorithm(spec, instance, inner, context)
    return Stated(few_shot, methods, made, made.init(lam))


def floor(stated: Stated) -> Callable[[], object]:
    """Forward, backward, optimizer step."""
    passes, step = forward_and_backward(stated), optimizer_step(stated)
    return torch.no_grad()(lambda: step(passes(stated.state.lam)))


def forward_and_backward(stated: Stated) -> Callable[[Any], Any]:
    """lam -> the vector-Jacobian product of the network on the first meta-batch, with a cotangent of ones."""
    embed = stated.few_shot.at(0)[0].embed
    assert embed is not None
    with torch.no_grad():
        cotangent = trees.map_leaves(torch.ones_like, embed(stated.state.lam))
    return lambda lam: vjp_once(embed, lam)[1](cotangent)[0]


def hyperiteration(stated: Stated) -> Callable[[], object]:
    """The hypergradient of one fixed meta-batch, optimizer step."""
    problem, dynamics = stated.few_shot.at(0)
    step, method, steps = optimizer_step(stated), stated.methods.at(0, ()), stated.few_shot.inner.steps

    def run() -> object:
        return step(method(problem, dynamics, stated.state.lam, steps=steps).grad)

    return run


def whole_loop(stated: Stated) -> Callable[[], object]:
    """Sampling, hypergradient, optimizer, recording, for one hyperiteration after the other."""
    series, counter, kept = Series(MemoryRecorder()), itertools.count(), [stated.state]

    def run() -> object:
        k = next(counter)
        series.start()
        state, values = stated.algorithm.step(k, kept[0])
        series.add(k, values, {})
        kept[0] = state
        return state

    return run


def optimizer_step(stated: Stated) -> Callable[[Any], object]:
    """A step of Adam along a gradient, always from the same variables and moments."""
    lam, moments = stated.state.lam, OPTIMIZER.init(stated.state.lam)
    return lambda grad: OPTIMIZER.step(0, grad, moments, lam)
