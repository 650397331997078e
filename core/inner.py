"""From the spec of the inner dynamics to functions; what of them is learned is read from the outer variables."""

from collections.abc import Mapping
from typing import Any, assert_never

from core.bilevel import dynamics as inner_dynamics
from core.bilevel.dynamics import Init, Scalar, StepObjective
from core.bilevel.linear_models.walk import Rate
from core.bilevel.problem import Dynamics
from core.bilevel.transforms import positive, unit_interval
from core.problems.inner import Inner, Learned, entry
from core.spec import algorithms
from core.spec.stochastic import Stochastic


def build_inner(spec: algorithms.Algorithm) -> Inner:
    """The inner dynamics, with the rate and momentum as numbers or read from the outer variables.

    Of an algorithm without dynamics, gradient descent for the models that a report fits.
    """
    if isinstance(spec, Stochastic):
        spec = algorithms.Nested(dynamics=algorithms.GradientDescent(rate=spec.inner_rate))
    chosen = spec.dynamics
    learned: dict[str, Learned] = {}
    by_parameter = getattr(chosen, "rate_per_parameter", False)
    if chosen.learn_rate and not by_parameter:
        learned["rate"] = Learned("log_rate", positive, chosen.rate, spec.steps if chosen.rate_per_step else None)
    if isinstance(chosen, algorithms.HeavyBall | algorithms.Nesterov) and chosen.learn_momentum:
        each = spec.steps if chosen.momentum_per_step else None
        learned["momentum"] = Learned("logit_momentum", unit_interval, chosen.momentum, each)

    def scalar(name: str, value: float) -> Scalar:
        return learned[name].at if name in learned else value

    rate = scalar("rate", chosen.rate)
    knobs: dict[str, Any] = {"rate": rate}
    match chosen:
        case algorithms.GradientDescent() if chosen.rate_per_parameter:
            kind: Any = inner_dynamics.gradient_descent_by_parameter
            knobs = {"rates": lambda lam: entry(lam, "rates")}
        case algorithms.GradientDescent():
            kind = inner_dynamics.gradient_descent
        case algorithms.HeavyBall():
            kind = inner_dynamics.heavy_ball
            knobs["momentum"] = scalar("momentum", chosen.momentum)
        case algorithms.Nesterov():
            kind = inner_dynamics.nesterov
            knobs["momentum"] = scalar("momentum", chosen.momentum)
        case algorithms.AdamDynamics():
            kind = inner_dynamics.adam
            knobs |= {"beta1": chosen.beta1, "beta2": chosen.beta2, "epsilon": chosen.epsilon}
        case algorithms.AdamW():
            kind = inner_dynamics.adamw
            knobs |= {"beta1": chosen.beta1, "beta2": chosen.beta2, "epsilon": chosen.epsilon, "decay": chosen.decay}
        case algorithms.RmsProp():
            kind = inner_dynamics.rmsprop
            knobs |= {"beta": chosen.beta, "epsilon": chosen.epsilon}
        case algorithms.LineSearch():
            kind = inner_dynamics.line_search
            knobs |= {"shrink": chosen.shrink, "decrease": chosen.decrease, "trials": chosen.trials}
        case _:
            assert_never(chosen)

    def dynamics(objective: StepObjective, init: Init) -> Dynamics:
        made: Dynamics = kind(objective, init, **knobs)
        return made

    return Inner(
        dynamics,
        rate,
        spec.steps * spec.hyperiterations if isinstance(spec, algorithms.RealTime) else spec.steps,
        batch=chosen.batch,
        closed_form=isinstance(spec, algorithms.Stepped) and isinstance(spec.hypergradient, algorithms.Exact),
        learned=learned,
        parameter_rate=chosen.rate if by_parameter else None,
        steady_rate=_steady_rate(chosen, learned),
    )


def _steady_rate(dynamics: algorithms.Dynamics, learned: Mapping[str, Learned]) -> Rate | None:
    if not isinstance(dynamics, algorithms.GradientDescent) or dynamics.rate_per_step or dynamics.batch is not None:
        return None
    if dynamics.rate_per_parameter:
        return None
    return learned["rate"].natural if "rate" in learned else dynamics.rate
