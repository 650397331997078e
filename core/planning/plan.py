"""From a spec to its plan: memory and time by part, other ways to the hypergradient, and what fits."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from core.planning.answer import LOADING, PROCESS, Assumption, Memory, MemoryPart, Plan, Sizes, Time, TimePart, Way
from core.planning.costs import Costs, NotModelled
from core.planning.diagnostics import Extra, measurements, measurements_of_steps
from core.planning.methods import OUTER_STEP, STEP_MEMORY, captured, joint, need, replayed
from core.planning.problems import costs
from core.planning.steps import Need, overall, step_of
from core.planning.stochastic import inner_steps, stochastic
from core.planning.verdict import verdict
from core.planning.ways import alternatives
from core.planning.work import DEVICES, MIB, NOTHING, Device, Work
from core.spec import Experiment
from core.spec.algorithms import Exact, GradientDescent, Joint, Nested, Sgd, Stepped
from core.spec.assumptions import assumptions
from core.spec.problems import FewShot
from core.spec.sizes import inner_variables, outer_variables
from core.spec.stochastic import AnyStochastic, Stochastic


class Reckoned(NamedTuple):
    """Memory and time of one spec."""

    memory: Memory
    time: Time
    notes: tuple[str, ...]


def plan(spec: Experiment, device: Device | None = None) -> Plan:
    """What the experiment will cost on the device; by default the one named by `resources.device`."""
    device = device or DEVICES["cuda" if spec.resources.device == "cuda" else "cpu"]
    try:
        reckoned = reckon(spec, device)
    except NotModelled as gap:
        return _empty(spec, device, str(gap))
    own = _way("as in the spec", {}, True, spec, device)
    others = [_way(each.name, each.set, each.same, each.spec, device, each.reason) for each in alternatives(spec)]
    remedy = None if reckoned.memory.fits is not False else _remedy(spec, others)
    others.sort(key=lambda way: -(way.memory_mb or 0))
    return Plan(
        verdict=verdict(spec, reckoned.memory, reckoned.time, remedy, others),
        device=device,
        sizes=_sizes(spec),
        memory=reckoned.memory,
        time=reckoned.time,
        ways=[own, *others],
        remedy=remedy,
        assumptions=_assumptions(spec),
        notes=list(reckoned.notes),
    )


def reckon(spec: Experiment, device: Device) -> Reckoned:
    """Memory and time of the spec as it is.

    Raises:
        NotModelled: a part of the spec has no model.
    """
    problem = costs(spec)
    wanted = _need(spec, problem)
    memory = _memory(spec, device, problem, wanted.memory)
    return Reckoned(memory, _time(spec, device, problem, wanted.work), wanted.notes)


def _need(spec: Experiment, problem: Costs) -> Need:
    algorithm = spec.algorithm
    if isinstance(algorithm, Stepped):
        method, extra = need(spec, algorithm, problem), measurements(spec, algorithm, problem, _together(spec, problem))
        watching = {"a gradient on all examples": problem.watching}
    elif isinstance(algorithm, Joint):
        method, extra, watching = joint(algorithm, problem), Extra(NOTHING, 0.0), {}
    else:
        whole = costs(_with_all_examples(spec, algorithm))
        method, extra = stochastic(algorithm, problem, whole), measurements_of_steps(spec, whole)
        watching = {}
    work = {name: problem.repeats * each for name, each in method.work.items()}
    if extra.work.operators:
        work["diagnostics of the spec"] = extra.work
    beside = extra.memory - problem.features - overall(method.memory)
    memory = {**method.memory, **watching, **({"diagnostics of the spec": beside} if beside > 0 else {})}
    return Need(work, memory, method.notes)


def _together(spec: Experiment, problem: Costs) -> Costs:
    """With all tasks of a meta-batch at a time."""
    if getattr(spec.problem, "task_chunk", None) is None:
        return problem
    return costs(spec.model_copy(update={"problem": spec.problem.model_copy(update={"task_chunk": None})}))


def _with_all_examples(spec: Experiment, algorithm: AnyStochastic) -> Experiment:
    return spec.model_copy(update={"algorithm": algorithm.model_copy(update={"batch": None})})


def _memory(spec: Experiment, device: Device, problem: Costs, method: Mapping[str, float]) -> Memory:
    """The allocator keeps what loading took, so that the method lives in it: the peak is the larger of the two."""
    held = {
        "data set": problem.data,
        "outer variables and optimizer": _outer_copies(spec) * problem.item * problem.outer,
        **({"network's graph and episodes": problem.features} if problem.features else {}),
        **method,
        "code and caches of the first step": STEP_MEMORY,
    }
    scoring = max(_at_a_time(spec, device) * problem.scoring_memory, problem.statistics_memory)
    evaluating = problem.data + scoring + STEP_MEMORY
    if captured(spec, device):
        held["evaluation"] = scoring  # a graph keeps its memory to itself as long as it is there
    elif evaluating > overall(held):
        kept = ("data set", "code and caches of the first step")
        held = {name: held[name] for name in kept} | {"evaluation": scoring}
    if (rest := problem.loading - overall(held)) > 0:
        held[LOADING] = rest
    parts = {PROCESS: device.process_mb, **{name: size / MIB for name, size in held.items()}}
    peak = math.fsum(parts.values())
    limit = spec.resources.memory_limit or device.memory_mb
    return Memory(
        parts=[MemoryPart(part=name, mb=round(size, 1)) for name, size in parts.items() if size >= 0.05],
        peak_mb=round(peak, 1),
        limit_mb=limit,
        fits=None if limit is None else peak <= limit,
    )


def _at_a_time(spec: Experiment, device: Device) -> int:
    """How many times as many episodes as on a CPU an evaluation takes together."""
    chunked = getattr(spec.problem, "task_chunk", None) is not None
    return device.evaluated_together if isinstance(spec.problem, FewShot) and not chunked else 1


def _outer_copies(spec: Experiment) -> int:
    """lam, its gradient, the best so far, the next lam, the moments of the optimizer and the average, old and new."""
    algorithm = spec.algorithm
    if isinstance(algorithm, Stochastic):
        return 4
    average = 2 if isinstance(algorithm, Nested) and algorithm.averaging is not None else 0
    return average + (4 if isinstance(algorithm.optimizer, Sgd) else 8)


def _time(spec: Experiment, device: Device, problem: Costs, method: Mapping[str, Work]) -> Time:
    algorithm = spec.algorithm
    stepped = isinstance(algorithm, Stepped)
    once = step_of(GradientDescent() if isinstance(algorithm, Stochastic) else algorithm.dynamics, problem).once
    steps = 0 if isinstance(algorithm, Stochastic) else algorithm.steps
    outer_step = Work(0, 20 * problem.item * problem.outer, 20)
    work = {
        **({"network": problem.repeats * problem.embedding} if problem.features else {}),
        **method,
        **({"outer objective": problem.repeats * problem.objective} if stepped else {}),
        OUTER_STEP: (1.3 * problem.repeats * problem.gradient if stepped else NOTHING) + outer_step,
    }
    parts = replayed(spec, work, device)
    hyperiteration = math.fsum(parts.values())
    solved = isinstance(algorithm, Stepped) and isinstance(algorithm.hypergradient, Exact)
    step = problem.walks * once if problem.fitting is None else problem.fitting
    fitted = problem.walks * problem.solution if solved else steps * step
    scoring = fitted + problem.scoring
    evaluation = replace(scoring, operators=scoring.operators / _at_a_time(spec, device)).seconds(device)
    every, last = spec.evaluated_every, algorithm.hyperiterations
    evaluations = last // every + 1 + (last % every != 0)
    closing = (problem.closing_steps * once + problem.closing).seconds(device)
    total = hyperiteration * last + evaluation * evaluations + closing
    limit = spec.resources.time_limit
    return Time(
        parts=[TimePart(part=name, seconds=seconds) for name, seconds in parts.items() if seconds > 0],
        hyperiteration_seconds=hyperiteration,
        evaluation_seconds=evaluation,
        evaluations=evaluations,
        closing_seconds=closing,
        total_seconds=total,
        limit_seconds=limit,
        fits=None if limit is None else total <= limit,
    )


def _way(
    name: str,
    settings: dict[str, object],
    same: bool,
    spec: Experiment | None,
    device: Device,
    reason: str | None = None,
) -> Way:
    if spec is None:
        nothing = {"memory_mb": None, "hyperiteration_seconds": None, "fits": None}
        return Way(name=name, set=settings, same=same, reason=reason, **nothing)
    reckoned = reckon(spec, device)
    return Way(
        name=name,
        set=settings,
        same=same,
        memory_mb=reckoned.memory.peak_mb,
        hyperiteration_seconds=reckoned.time.hyperiteration_seconds,
        fits=reckoned.memory.fits,
        reason=None,
    )


def _remedy(spec: Experiment, ways: list[Way]) -> Way | None:
    fitting = [way for way in ways if way.fits]
    if not isinstance(spec.algorithm, Stepped):
        return next(iter(fitting), None)  # the smallest minibatch would be the quickest, and the noisiest
    return min(fitting, key=lambda way: (not way.same, way.hyperiteration_seconds), default=None)


def _sizes(spec: Experiment) -> Sizes:
    return Sizes(
        inner_variables=inner_variables(spec.problem),
        outer_variables=outer_variables(spec.problem, spec.algorithm),
        inner_steps=spec.algorithm.steps if isinstance(spec.algorithm, Stepped) else inner_steps(spec.algorithm),
        hyperiterations=spec.algorithm.hyperiterations,
    )


def _assumptions(spec: Experiment) -> list[Assumption]:
    return [Assumption.model_validate(each) for each in assumptions(spec)]


def _empty(spec: Experiment, device: Device, gap: str) -> Plan:
    return Plan(
        verdict=f"Not modelled: {gap}.",
        device=device,
        sizes=_sizes(spec),
        memory=None,
        time=None,
        ways=[],
        remedy=None,
        assumptions=_assumptions(spec),
        notes=[],  # the verdict says it
    )
