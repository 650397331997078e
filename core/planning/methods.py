"""What each way to the hypergradient takes: work and memory of one hyperiteration, part by part.

With g the work and h the memory of one inner step: unrolled T (g + back), T h; reverse T (2 g + back), T iterates;
segments of m T (3 g + back), T/m + m iterates; forward T g for each tangent, one iterate each; implicit T g and a
product with the Hessian for each iteration of the solver.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from core.planning.problems import Costs
from core.planning.work import NARROW, Work, product
from core.spec import Experiment, algorithms
from core.spec.problems import HyperRepresentation

NODE_BYTES = 400.0
"""What an operator leaves in a graph beside its tensors."""
LEAF_BYTES = 5000.0
"""What a kept tensor takes beside its numbers, with what the allocator leaves around it."""
STEP_MEMORY = 17e6
"""Code and caches that the first hyperiteration loads."""
PRECONDITIONED = 25
"""Products that conjugate gradient takes on a linear model, preconditioned by its mean curvature (measured: 10-30)."""
ANALYTIC_PRODUCTS = 0.35
"""Products with the classes first and the rows in chunks that stay in the cache, over those of autograd."""
FORWARD_MEMORY = 18e6
"""What torch loads beside with the first forward-mode derivative."""


@dataclass(frozen=True)
class Need:
    """What one hyperiteration takes."""

    work: Mapping[str, Work]
    """By part."""
    memory: Mapping[str, float]
    """Bytes that are held at the same time, by part."""
    notes: tuple[str, ...] = field(default=())
    """What a reader should know of the figures."""


@dataclass(frozen=True)
class Step:
    """One step of the inner dynamics."""

    once: Work
    """s_t from s_{t-1}."""
    state: float
    """Bytes of an iterate that is kept."""
    graph: float
    """Bytes of its graph."""
    numbers: int
    """Numbers in a state."""
    back: Work | None = None
    """The way back through it, where that is not by torch.func."""
    overhead: float = 1.0
    """How much more torch.func adds to its operators than to those of a step that torch.func found."""

    @property
    def recorded(self) -> Work:
        """A step and its graph, and the way back through it: unrolled."""
        return Work(2.6 * self.once.operations, 2.6 * self.once.traffic, 1.3 * self.overhead * self.once.operators)

    @property
    def pulled(self) -> Work:
        """A vector-Jacobian product of the step, which runs it anew."""
        if self.back is not None:
            return self.back
        return Work(2.4 * self.once.operations, 2.6 * self.once.traffic, 2.2 * self.overhead * self.once.operators)

    def pushed(self, tangents: int) -> Work:
        """The step with so many tangents at once."""
        times = 1 + 1.8 * tangents
        return Work(times * self.once.operations, times * self.once.traffic, 8.5 * self.overhead * self.once.operators)


def step_of(dynamics: algorithms.Dynamics, costs: Costs) -> Step:
    """A step of the dynamics."""
    gradients = 1.0
    match dynamics:
        case algorithms.GradientDescent():
            vectors, operators = 1, 2
        case algorithms.HeavyBall() | algorithms.Nesterov():
            vectors, operators = 2, 5
        case algorithms.RmsProp():
            vectors, operators = 2, 8
        case algorithms.AdamDynamics() | algorithms.AdamW():
            vectors, operators = 3, 13
        case algorithms.LineSearch():
            vectors, operators, gradients = 1, 4, 1.8  # trials see the objective only, at a third of a gradient
        case _:
            assert_never(dynamics)
    update = Work(0, costs.item * costs.variables * (3 * operators), operators * costs.leaves)
    gradient = _written_out(costs, 3) if costs.analytic else costs.gradient
    once = gradients * gradient + update
    return Step(
        overhead=2.3 if costs.analytic else 1.0,
        once=once,
        state=vectors * (costs.item * costs.variables + LEAF_BYTES * costs.leaves),
        graph=costs.graph + NODE_BYTES * once.operators + costs.item * costs.variables * operators / 2,
        numbers=vectors * costs.variables,
    )


def need(spec: Experiment, algorithm: algorithms.Stepped, costs: Costs) -> Need:
    """Of the algorithm's hypergradient, the network and the outer step not counted."""
    chosen, steps, step = algorithm.hypergradient, algorithm.steps, step_of(algorithm.dynamics, costs)
    match chosen:
        case algorithms.Unrolled():
            return Need(
                {"inner steps and way back": steps * step.recorded}, {"graphs of all steps": steps * step.graph}
            )
        case algorithms.Reverse():
            if walks_in_dual(spec, algorithm) and isinstance(spec.problem, HyperRepresentation):
                return _dual_walk(spec.problem, costs, steps)
            return _reverse(chosen, steps, analytic_step(costs) if costs.analytic else step)
        case algorithms.Reversible():
            return _reversible(algorithm.dynamics, costs, steps, step)
        case algorithms.Forward():
            if costs.analytic and chosen.chunk is None:
                return _analytic_forward(costs, steps)
            return _forward(costs, step, steps, costs.outer, chosen.chunk)
        case algorithms.RandomForward():
            return _forward(costs, step, steps, chosen.directions, chosen.chunk)
        case algorithms.Implicit():
            return _implicit(chosen.solver, costs, step, steps)
        case algorithms.Exact():
            return Need({"closed form": 3 * costs.solution}, {"closed form": costs.solution_memory})
        case _:
            assert_never(chosen)


def walks_in_dual(spec: Experiment, algorithm: algorithms.Stepped) -> bool:
    """Whether reverse mode goes through the span of the support features, as `core.build` decides it."""
    heads = isinstance(spec.problem, HyperRepresentation)
    plain = algorithm.hypergradient == algorithms.Reverse()
    return heads and plain and isinstance(algorithm.dynamics, algorithms.GradientDescent)


def _reverse(chosen: algorithms.Reverse, steps: int, step: Step) -> Need:
    back = min(chosen.truncate or steps, steps)
    again, kept = 0, back
    if chosen.snapshots is not None:
        again, kept = _best_schedule(back, min(chosen.snapshots, back))
    elif chosen.segment is not None:
        length = math.isqrt(max(back - 1, 0)) + 1 if chosen.segment == "auto" else chosen.segment
        segments = -(-back // length)
        again, kept = (segments - 1) * length, segments - 1 + min(length, back)
    return Need(
        {
            "inner steps": steps * step.once,
            **({"steps made again": again * step.once} if again else {}),
            "way back": back * step.pulled,
        },
        {"kept iterates": kept * step.state, "graph of one step": step.graph},
    )


def _best_schedule(steps: int, snapshots: int) -> tuple[int, int]:
    """Steps made again and iterates kept by the binomial schedule (Griewank and Walther 2000).

    With r the least number for which beta(c, r) = (c + r)!/(c! r!) >= T: r T - beta(c + 1, r - 1) steps in all.
    """
    r = 0
    while math.comb(snapshots + r, snapshots) < steps:
        r += 1
    within = math.comb(snapshots + r, snapshots + 1) if r else 0
    return max(r * steps - within - (steps - 1), 0), snapshots


def _reversible(dynamics: algorithms.Dynamics, costs: Costs, steps: int, step: Step) -> Need:
    """Each step forward and back on int64 mantissas, and a pull; about log2(1/mu) bits a step and variable."""
    bits = math.log2(1 / max(getattr(dynamics, "momentum", 0.9), 1e-6))
    mantissas = Work(0, 60 * 8 * costs.variables, 25 * costs.leaves + 10)
    return Need(
        {"inner steps": steps * (step.once + mantissas), "way back": steps * (step.once + step.pulled + mantissas)},
        {
            "bit buffer": steps * costs.variables * bits / 8,
            "graph of one step": step.graph,
            "mantissas": 8 * 10.0 * costs.variables,
        },
    )


def _written_out(costs: Costs, operators: float) -> Work:
    """A gradient of a linear model in products of the scores, classes first."""
    return Work(ANALYTIC_PRODUCTS * costs.gradient.operations, 0.5 * costs.gradient.traffic, operators)


def analytic_step(costs: Costs) -> Step:
    """A step of a linear model, written out: plain operators, each at a quarter of the price inside torch.func."""
    once = _written_out(costs, 2)
    return Step(
        once=once,
        state=float(costs.item * costs.variables),
        graph=costs.graph + 6 * costs.item * costs.variables,
        numbers=costs.variables,
        back=Work(1.5 * once.operations, 1.5 * once.traffic, 4),
    )


def _analytic_forward(costs: Costs, steps: int) -> Need:
    """The iterate and its tangents go through the data together, as so many more classes."""
    stacked = 1 + costs.outer
    narrow = max(NARROW / (costs.classes * stacked), 1) / max(NARROW / costs.classes, 1)
    once = analytic_step(costs).once
    each = Work(stacked * narrow * once.operations, stacked * once.traffic, 4)
    numbers = 4 * costs.variables + costs.graph / costs.item
    return Need(
        {"inner steps with tangents": steps * each},
        {"tangents": stacked * costs.item * numbers, "forward-mode derivatives": FORWARD_MEMORY},
    )


def _dual_walk(problem: HyperRepresentation, costs: Costs, steps: int) -> Need:
    """Small products of the support examples with each other, outside of torch.func: operators at half the price."""
    tasks, way = min(problem.task_chunk or problem.meta_batch, problem.meta_batch), problem.way
    n, q = way * problem.shot, way * problem.query
    features = costs.seen / (tasks * (n + q)) + 1
    each = Work(4 * 6 * tasks * n * n * way, costs.item * tasks * (3 * n * n + 30 * n * way), 9)
    kernels = Work(3 * 2 * 2 * tasks * n * (n + q) * features, costs.item * 6 * tasks * (n + q) * (features + n), 40)
    numbers = tasks * (2 * (n + q) * features + 2 * n * n + 2 * q * n)
    walk = 3 * (costs.item * tasks * n * way + LEAF_BYTES / 2)
    return Need(
        {"kernels of the features": kernels, "inner steps and way back": steps * each},
        {"kernels of the features": costs.item * numbers, "kept iterates": steps * walk},
    )


def _forward(costs: Costs, step: Step, steps: int, directions: int, chunk: int | None) -> Need:
    together = min(chunk or directions, directions)
    runs = -(-directions // together)
    numbers = 3 * step.numbers + costs.graph / costs.item
    embedding = runs * (together + 1) * (1 / 3) * costs.embedding
    return Need(
        {
            "inner steps with tangents": runs * steps * step.pushed(together),
            **({"network with tangents": embedding} if costs.features else {}),
        },
        {
            "tangents": together * costs.item * numbers,
            "directions": 2 * together * costs.item * costs.outer,
            **({"tangents of the features": together * costs.features / 2} if costs.features else {}),
            "forward-mode derivatives": FORWARD_MEMORY,
        },
    )


def _implicit(solver: algorithms.LinearSolver, costs: Costs, step: Step, steps: int) -> Need:
    hessian_product = Work(
        1.2 * costs.gradient.operations, 1.4 * costs.gradient.traffic, 0.7 * costs.gradient.operators
    )
    jacobian_product = Work(1.2 * step.once.operations, 1.4 * step.once.traffic, 0.7 * step.once.operators)
    vector = costs.item * costs.variables
    notes: tuple[str, ...] = ()
    d = costs.variables
    match solver:
        case algorithms.ConjugateGradient() if costs.curvature.operations and solver.preconditioner == "auto":
            products, at_most = min(solver.iterations, d, PRECONDITIONED), False
            work = costs.curvature + products * (_written_out(costs, 8) + Work(0, 12 * vector, 12))
            vectors, each = 5.0 * vector + 2 * costs.item * (d / costs.classes) ** 2, products
            notes = (f"Preconditioned, the linear solver is reckoned with {products} products.",)
        case algorithms.ConjugateGradient():
            # In exact arithmetic it ends after as many products as there are inner variables; the residual takes one.
            products, at_most = min(solver.iterations, d) + 1, True
            work, vectors, each = products * (hessian_product + Work(0, 12 * vector, 20)), 5.0 * vector, products
        case algorithms.ConjugateGradientNormal():
            products, at_most = min(solver.iterations, 2 * d) + 1, True
            work, vectors, each = products * (hessian_product + Work(0, 8 * vector, 12)), 5.0 * vector, products
        case algorithms.StochasticDescent():
            products, at_most = solver.iterations, False  # at most: a minibatch costs no more than all examples
            work, vectors, each = products * (hessian_product + Work(0, 10 * vector, 10)), 4.0 * vector, products
        case algorithms.Neumann():
            products, at_most = solver.iterations, False
            work, vectors, each = products * (jacobian_product + Work(0, 8 * vector, 6)), 4.0 * vector, products
        case algorithms.FixedPoint():
            products, at_most = solver.iterations, True
            work, vectors, each = products * (jacobian_product + Work(0, 10 * vector, 8)), 4.0 * vector, products
        case algorithms.Dense():
            at_most, each = False, d
            work = d * Work(hessian_product.operations, hessian_product.traffic, 0) + product(d, d, d / 3, costs.item)
            vectors = costs.item * (4.0 * d * d) + d * costs.graph / 3
        case _:
            assert_never(solver)
    if at_most:
        notes = (f"The linear solver is reckoned with {each} products, the most that it makes: it may stop earlier.",)
    return Need(
        {"inner steps": steps * step.once, "linear solver": work, "equation": 3 * step.pulled},
        {"solver vectors": vectors, "graphs of one step": 2 * step.graph},
        notes,
    )


def overall(memory: Mapping[str, float]) -> float:
    """Bytes of all parts."""
    return math.fsum(memory.values())
