"""From spec to functions: one `match` for each union."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, assert_never

import torch

from core.bilevel import dynamics as inner_dynamics
from core.bilevel import linear_solve, optimizers
from core.bilevel.algorithms import nested
from core.bilevel.dynamics import Init, Scalar, StepObjective
from core.bilevel.embedding import composed, through_embedding
from core.bilevel.hypergradients import dynamics_fixed_point, exact, forward, implicit, reverse, stationarity, unrolled
from core.bilevel.linear_solve import Solver
from core.bilevel.optimizers import OuterOptimizer
from core.bilevel.problem import Algorithm, Dynamics, Hypergradient, Method, Problem, Tree, steady
from core.bilevel.transforms import positive, unit_interval
from core.models.conv4 import conv4
from core.models.linear import linear
from core.models.mlp import mlp, mlp_representation
from core.models.model import Model, Representation
from core.problems.hyper_cleaning import hyper_cleaning
from core.problems.hyper_representation import heads, hyper_representation
from core.problems.inner import Inner, Learned
from core.problems.instance import Context, Instance
from core.problems.quadratic import quadratic
from core.problems.regularization import regularization
from core.spec import Experiment, algorithms, models, problems
from core.spec.sizes import outputs

PIXELS = 28 * 28


class Built(NamedTuple):
    """An experiment as functions."""

    instance: Instance
    algorithm: Algorithm


def build(spec: Experiment, *, device: str, data_dir: Path) -> Built:
    """Loads the data and binds every part of the spec.

    Raises:
        DataMissing: the data set is not in `data_dir`.
    """
    context = make_context(spec, device=device, data_dir=data_dir)
    inner = build_inner(spec.algorithm)
    instance = build_instance(spec.problem, inner, context)
    algorithm = nested(
        instance.at,
        steady(build_method(spec, inner, context)),
        build_optimizer(spec.algorithm.optimizer),
        instance.project,
        steps=spec.algorithm.steps,
    )
    return Built(instance, algorithm)


def make_context(spec: Experiment, *, device: str, data_dir: Path) -> Context:
    """Where and with what the experiment runs."""
    dtype = torch.float64 if spec.resources.precision == "float64" else torch.float32
    return Context(spec.seed, dtype, torch.device(device), data_dir, spec.evaluation.episodes)


def build_instance(spec: problems.Problem, inner: Inner, context: Context) -> Instance:
    """The problem with its data."""
    match spec:
        case problems.Quadratic():
            return quadratic(spec, inner, context)
        case problems.Regularization() | problems.HyperCleaning():
            model = build_model(spec.model, spec.dataset.features, outputs(spec.dataset), context.dtype)
            if isinstance(spec, problems.Regularization):
                return regularization(spec, model, inner, context)
            return hyper_cleaning(spec, model, inner, context)
        case problems.HyperRepresentation():
            return hyper_representation(spec, build_representation(spec.model, context.dtype), inner, context)
        case _:
            assert_never(spec)


def build_model(spec: models.TableModel, features: int, scores: int, dtype: torch.dtype) -> Model:
    """A ground model for feature vectors."""
    match spec:
        case models.Linear():
            return linear(features, scores, bias=spec.bias, dtype=dtype)
        case models.Mlp():
            return mlp(features, spec.hidden, scores, activation=spec.activation, dtype=dtype)
        case _:
            assert_never(spec)


def build_representation(spec: models.Representation, dtype: torch.dtype) -> Representation:
    """A network that makes features of 28x28 grey images."""
    match spec:
        case models.Conv4():
            return conv4(spec.filters, downsample=spec.downsample, norm_scale=spec.norm_scale, dtype=dtype)
        case models.Mlp():
            return mlp_representation(PIXELS, spec.hidden, activation=spec.activation, dtype=dtype)
        case _:
            assert_never(spec)


def build_inner(spec: algorithms.Algorithm) -> Inner:
    """The inner dynamics, with the rate and momentum as numbers or read from the outer variables."""
    chosen = spec.dynamics
    learned: dict[str, Learned] = {}
    if chosen.learn_rate:
        learned["rate"] = Learned("log_rate", positive, chosen.rate)
    if getattr(chosen, "learn_momentum", False):
        learned["momentum"] = Learned("logit_momentum", unit_interval, getattr(chosen, "momentum", 0.0))

    def scalar(name: str, value: float) -> Scalar:
        return learned[name].at if name in learned else value

    rate = scalar("rate", chosen.rate)
    knobs: dict[str, Any] = {"rate": rate}
    match chosen:
        case algorithms.GradientDescent():
            kind: Any = inner_dynamics.gradient_descent
        case algorithms.HeavyBall():
            kind = inner_dynamics.heavy_ball
            knobs["momentum"] = scalar("momentum", chosen.momentum)
        case algorithms.Nesterov():
            kind = inner_dynamics.nesterov
            knobs["momentum"] = scalar("momentum", chosen.momentum)
        case algorithms.AdamDynamics():
            kind = inner_dynamics.adam
            knobs |= {"beta1": chosen.beta1, "beta2": chosen.beta2, "epsilon": chosen.epsilon}
        case _:
            assert_never(chosen)

    def dynamics(objective: StepObjective, init: Init) -> Dynamics:
        made: Dynamics = kind(objective, init, **knobs)
        return made

    return Inner(
        dynamics,
        rate,
        spec.steps,
        batch=chosen.batch,
        closed_form=isinstance(spec.hypergradient, algorithms.Exact),
        learned=learned,
    )


def build_method(spec: Experiment, inner: Inner, context: Context) -> Method:
    """The hypergradient; the problem's embedding, where it has one, is factored out."""
    chosen = spec.algorithm.hypergradient
    match chosen:
        case algorithms.Unrolled():
            return through_embedding(unrolled)
        case algorithms.Reverse():
            if walks_in_dual(spec) and isinstance(spec.problem, problems.HyperRepresentation):
                return through_embedding(heads(spec.problem, context).dual_walk(inner))
            return through_embedding(partial(reverse, segment=chosen.segment, truncate=chosen.truncate))
        case algorithms.Forward():
            return _forward
        case algorithms.Implicit():
            return through_embedding(_implicit(chosen))
        case algorithms.Exact():
            return through_embedding(exact)
        case _:
            assert_never(chosen)


def walks_in_dual(spec: Experiment) -> bool:
    """Whether reverse mode goes through the span of the support features: heads under plain gradient descent."""
    chosen = spec.algorithm.hypergradient
    return (
        isinstance(spec.problem, problems.HyperRepresentation)
        and isinstance(chosen, algorithms.Reverse)
        and chosen.segment is None
        and chosen.truncate is None
        and isinstance(spec.algorithm.dynamics, algorithms.GradientDescent)
    )


def _forward(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
    """Stated in lam, of which forward mode takes one tangent an entry, rather than in the larger z."""
    return forward(*composed(problem, dynamics), lam, steps=steps)


def _implicit(spec: algorithms.Implicit) -> Method:
    """Symmetric solvers on the stationarity condition, series on the fixed point of the dynamics."""
    solver = spec.solver
    match solver:
        case algorithms.ConjugateGradient():
            knobs: dict[str, Any] = {"iterations": solver.iterations, "tolerance": solver.tolerance}
            solve: Solver = partial(linear_solve.cg, **knobs)
            condition = stationarity
        case algorithms.Neumann():
            solve, condition = partial(linear_solve.neumann, iterations=solver.iterations), dynamics_fixed_point
        case algorithms.FixedPoint():
            knobs = {"iterations": solver.iterations, "tolerance": solver.tolerance}
            solve, condition = partial(linear_solve.fixed_point, **knobs), dynamics_fixed_point
        case algorithms.Dense():
            solve, condition = linear_solve.dense, stationarity
        case _:
            assert_never(solver)
    return partial(implicit, solve=solve, condition=condition)


def build_optimizer(spec: algorithms.Optimizer) -> OuterOptimizer:
    """The outer optimizer."""
    match spec:
        case algorithms.Sgd():
            return optimizers.sgd(rate=spec.rate, decay=spec.decay)
        case algorithms.MomentumSgd():
            return optimizers.momentum(rate=spec.rate, momentum=spec.momentum, decay=spec.decay)
        case algorithms.Adam():
            return optimizers.adam(
                rate=spec.rate, beta1=spec.beta1, beta2=spec.beta2, epsilon=spec.epsilon, decay=spec.decay
            )
        case _:
            assert_never(spec)
