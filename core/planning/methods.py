"""What each way to the hypergradient takes: work and memory of one hyperiteration, part by part.

With g the work and h the memory of one inner step: unrolled T (g + back), T h; reverse T (2 g + back), T iterates;
segments of m T (3 g + back), T/m + m iterates; forward T g for each tangent, one iterate each; implicit T g and a
product with the Hessian for each iteration of the solver.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from core.bilevel.limits import FEW, FUSED_CLASSES, FUSED_EXAMPLES
from core.bilevel.schedule import cost
from core.planning.costs import Costs
from core.planning.episodes import walk_step
from core.planning.implicit import implicit
from core.planning.steps import LEAF_BYTES, Need, Step, analytic_step, step_of
from core.planning.work import NARROW, Device, Work
from core.spec import Experiment, algorithms
from core.spec.problems import HyperRepresentation
from core.spec.shortcuts import replays, walks_in_dual
from core.spec.sizes import features, inner_problems, training_sets

WALK, OUTER_STEP = "inner steps and way back", "series and outer step"
STEP_MEMORY = 17e6
"""Code and caches that the first hyperiteration loads."""
FORWARD_MEMORY = 18e6
"""What torch loads with its forward mode."""


def need(spec: Experiment, algorithm: algorithms.Stepped, costs: Costs) -> Need:
    """Of the algorithm's hypergradient, the network and the outer step not counted."""
    chosen, steps, step = algorithm.hypergradient, algorithm.steps, step_of(algorithm.dynamics, costs)
    match chosen:
        case algorithms.Unrolled():
            return Need({WALK: steps * step.recorded}, {"graphs of all steps": steps * step.graph})
        case algorithms.Reverse():
            if walks_in_dual(spec.model_copy(update={"algorithm": algorithm})):
                assert isinstance(spec.problem, HyperRepresentation)
                return _dual_walk(spec.problem, costs, steps)
            return _reverse(chosen, steps, analytic_step(costs) if costs.analytic else step)
        case algorithms.Reversible():
            return _reversible(algorithm.dynamics, costs, steps, step)
        case algorithms.Forward():
            if costs.analytic and isinstance(algorithm, algorithms.Nested):
                return _analytic_forward(costs, steps, costs.outer, chosen.chunk)
            return _forward(costs, step, steps, costs.outer, chosen.chunk)
        case algorithms.RandomForward():
            if costs.analytic:
                return _analytic_forward(costs, steps, chosen.directions, chosen.chunk)
            return _forward(costs, step, steps, chosen.directions, chosen.chunk)
        case algorithms.Implicit():
            return implicit(chosen.solver, costs, step, steps)
        case algorithms.FirstOrder() | algorithms.Reptile():
            return Need({"inner steps": steps * step.once}, {"graph of one step": step.graph})
        case algorithms.Exact():
            return Need({"closed form": 3 * costs.solution}, {"closed form": costs.solution_memory})
        case _:
            assert_never(chosen)


def joint(algorithm: algorithms.Joint, costs: Costs) -> Need:
    """A gradient of L by w and lam, and a step of the heads, which computes its own."""
    step = step_of(algorithm.dynamics, costs)
    return Need(
        {"gradient and step of the heads": 1.3 * costs.gradient + step.once},
        {"graph of a gradient": step.graph, "heads": 2 * step.state},
    )


def captured(spec: Experiment, device: Device) -> bool:
    """Whether a CUDA graph replays the hyperiteration, or the walk in the dual without the outer step."""
    return device.replayed_seconds is not None and (replays(spec) or walks_in_dual(spec))


def replayed(spec: Experiment, work: Mapping[str, Work], device: Device) -> dict[str, float]:
    """Seconds of each part, from a CUDA graph where there is one; steps of the walk may be one kernel."""
    if not captured(spec, device):
        return {name: each.seconds(device) for name, each in work.items()}
    chosen, again = spec.algorithm, device.model_copy(update={"operator_seconds": device.replayed_seconds})
    if walks_in_dual(spec) and _fused(spec):
        assert isinstance(chosen, algorithms.Stepped)
        work = {**work, WALK: replace(work[WALK], operators=chosen.steps)}
    launched = () if replays(spec) else (OUTER_STEP,)
    return {name: each.seconds(device if name in launched else again) for name, each in work.items()}


def _fused(spec: Experiment) -> bool:
    """As `core.bilevel.softmax_heads` decides it."""
    assert isinstance(spec.problem, HyperRepresentation)
    way, shot, _ = training_sets(spec.problem)
    return spec.resources.precision != "float64" and way <= FUSED_CLASSES and way * shot <= FUSED_EXAMPLES


def _reverse(chosen: algorithms.Reverse, steps: int, step: Step) -> Need:
    back = min(chosen.truncate or steps, steps)
    again, kept = cost(steps, segment=chosen.segment, truncate=chosen.truncate, snapshots=chosen.snapshots)
    return Need(
        {
            "inner steps": steps * step.once,
            **({"steps made again": again * step.once} if again else {}),
            "way back": back * step.pulled,
        },
        {"kept iterates": kept * step.state, "graph of one step": step.graph},
    )


def buffer_bits(momentum: float) -> float:
    """Bits a step and variable that `reversible` keeps: 2 (1 - mu) for mu >= 1/2, about log2(1/mu) below.

    A number stands for floor(1/mu) others or one more, 1/mu on average; which of n it was takes all the bits of n - 1.
    """
    few = int(1 / momentum)
    more = 1 / momentum - few
    counts = {few: 1 - more, few + 1: more}
    return momentum * sum(share * count * (count - 1).bit_length() for count, share in counts.items())


def _reversible(dynamics: algorithms.Dynamics, costs: Costs, steps: int, step: Step) -> Need:
    """Each step forward and back on int64 mantissas, a pull, and the bits that undo the momentum."""
    assert isinstance(dynamics, algorithms.HeavyBall)  # core.spec.checks refuses the others
    mantissas = Work(0, 60 * 8 * costs.variables, 25 * costs.leaves + 10)
    return Need(
        {"inner steps": steps * (step.once + mantissas), "way back": steps * (step.once + step.pulled + mantissas)},
        {
            "bit buffer": steps * costs.variables * buffer_bits(dynamics.momentum) / 8,
            "graph of one step": step.graph,
            "mantissas": 8 * 10.0 * costs.variables,
        },
    )


def _analytic_forward(costs: Costs, steps: int, directions: int, chunk: int | None) -> Need:
    """The iterate and its tangents go through the data together, as so many more classes."""
    together = min(chunk or directions, directions)
    runs, stacked = -(-directions // together), 1 + together
    narrow = max(NARROW / (costs.classes * stacked), 1) / max(NARROW / costs.classes, 1)
    once = analytic_step(costs).once
    each = Work(stacked * narrow * once.operations, stacked * once.traffic, 8)
    numbers = 4 * costs.variables + costs.graph / costs.item
    return Need(
        {"inner steps with tangents": runs * steps * each},
        {"tangents": stacked * costs.item * numbers, "directions": 2 * together * costs.item * costs.outer},
    )


def _dual_walk(problem: HyperRepresentation, costs: Costs, steps: int) -> Need:
    tasks = min(problem.task_chunk or problem.meta_batch, problem.meta_batch) * inner_problems(problem)
    way, shot, query = training_sets(problem)
    n, q = way * shot, way * (query or shot)
    seen = features(problem) + 1
    kernels = Work(3 * 2 * 2 * tasks * n * (n + q) * seen, costs.item * 6 * tasks * (n + q) * (seen + n), 40)
    numbers = tasks * (2 * (n + q) * seen + 2 * n * n + 2 * q * n)
    walk = 3 * (costs.item * tasks * n * way + LEAF_BYTES / 2)
    return Need(
        {"kernels of the features": kernels, WALK: steps * walk_step(tasks, n, way, costs.item)},
        {"kernels of the features": costs.item * numbers, "kept iterates": steps * walk},
    )


TANGENT_GRAPHS = 3.0
"""What a tangent's way through a gradient holds at its peak, over what the gradient's graph keeps, as measured."""


def _forward(costs: Costs, step: Step, steps: int, directions: int, chunk: int | None) -> Need:
    together = min(chunk or directions, directions)
    runs = -(-directions // together)
    numbers = 3 * step.numbers + TANGENT_GRAPHS * costs.graph / costs.item
    embedding = runs * (together + 1) * (1 / 3) * costs.embedding
    arguments = step.numbers + costs.seen
    return Need(
        {
            "inner steps with tangents": runs * steps * step.pushed(together, arguments),
            **({"network with tangents": embedding} if costs.features else {}),
        },
        {
            "tangents": together * costs.item * numbers,
            "directions": 2 * together * costs.item * costs.outer,
            **({"tangents of the features": together * costs.features / 2} if costs.features else {}),
            **({"torch's forward mode": FORWARD_MEMORY} if costs.features or arguments > FEW else {}),
        },
    )
