"""Inner dynamics Phi: gradient descent and its relatives, as pairs of pure functions.

Each takes the inner objective as a function of (t, w, lam), so that a minibatch is a function of the step, and w_0 as
a function of lam. A rate or momentum is a number, or a function of (t, lam): a schedule, or an outer variable.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from core.bilevel import derivatives, trees
from core.bilevel.problem import Dynamics, Objective, State, Tree

StepObjective = Callable[[int, Tree, Tree], Tensor]
"""(t, w, lam) -> scalar: the inner objective that step t sees."""
Scalar = float | Callable[[int, Tree], Tensor]
"""A number, or (t, lam) -> scalar tensor."""
Init = Callable[[Tree], Tree]
"""lam -> w_0, or a tree like it."""


def full_batch(objective: Objective) -> StepObjective:
    """The same objective at every step."""
    return derivatives.taking(lambda t, w, lam: (w, lam), objective, 1)


def value_at(scalar: Scalar, t: int, lam: Tree) -> float | Tensor:
    """The number that step t uses."""
    return scalar(t, lam) if callable(scalar) else scalar


def gradient_descent(objective: StepObjective, init: Init, *, rate: Scalar) -> Dynamics:
    """w_t = w_{t-1} - eta grad L_t(w_{t-1})."""
    gradient = derivatives.gradient(objective, 1)

    def step(t: int, s: State, lam: Tree) -> State:
        return State(trees.axpy(-value_at(rate, t, lam), gradient(t, s.w, lam), s.w))

    return Dynamics(lambda lam: State(init(lam)), step)


def gradient_descent_by_parameter(objective: StepObjective, init: Init, *, rates: Init) -> Dynamics:
    """w_t = w_{t-1} - alpha o grad L_t(w_{t-1}), alpha = rates(lam) (Meta-SGD, Li et al. 2017).

    The rates are a tree like w whose leaves are broadcast against those of w: they may lack its leading axes.
    """
    gradient = derivatives.gradient(objective, 1)

    def step(t: int, s: State, lam: Tree) -> State:
        return State(trees.map_leaves(lambda w, a, g: w - a * g, s.w, rates(lam), gradient(t, s.w, lam)))

    return Dynamics(lambda lam: State(init(lam)), step)


def heavy_ball(objective: StepObjective, init: Init, *, rate: Scalar, momentum: Scalar) -> Dynamics:
    """v_t = mu v_{t-1} + grad L_t(w_{t-1}), w_t = w_{t-1} - eta v_t (Polyak 1964)."""
    gradient = derivatives.gradient(objective, 1)

    def step(t: int, s: State, lam: Tree) -> State:
        velocity = trees.axpy(value_at(momentum, t, lam), s.aux, gradient(t, s.w, lam))
        return State(trees.axpy(-value_at(rate, t, lam), velocity, s.w), velocity)

    return Dynamics(_at_rest(init), step)


def nesterov(objective: StepObjective, init: Init, *, rate: Scalar, momentum: Scalar) -> Dynamics:
    """v_t = mu v_{t-1} + grad L_t(w_{t-1} - eta mu v_{t-1}), w_t = w_{t-1} - eta v_t (Nesterov 1983)."""
    gradient = derivatives.gradient(objective, 1)

    def step(t: int, s: State, lam: Tree) -> State:
        eta = value_at(rate, t, lam)
        carried = trees.scale(value_at(momentum, t, lam), s.aux)
        velocity = trees.add(carried, gradient(t, trees.axpy(-eta, carried, s.w), lam))
        return State(trees.axpy(-eta, velocity, s.w), velocity)

    return Dynamics(_at_rest(init), step)


def adam(
    objective: StepObjective,
    init: Init,
    *,
    rate: Scalar,
    beta1: Scalar = 0.9,
    beta2: Scalar = 0.999,
    epsilon: float = 1e-8,
) -> Dynamics:
    """Adam (Kingma and Ba 2015) with bias correction; epsilon stands under the root, so that the step is smooth.

    m_t = beta1 m_{t-1} + (1 - beta1) g_t, v_t = beta2 v_{t-1} + (1 - beta2) g_t^2,
    w_t = w_{t-1} - eta mhat_t / sqrt(vhat_t + epsilon), mhat_t = m_t / (1 - beta1^t), vhat_t = v_t / (1 - beta2^t).
    The betas may be read from lam but should not vary with t: the correction takes their powers.
    """
    gradient = derivatives.gradient(objective, 1)

    def step(t: int, s: State, lam: Tree) -> State:
        b1, b2 = value_at(beta1, t, lam), value_at(beta2, t, lam)
        g = gradient(t, s.w, lam)
        first, second = _moments(s)
        first = trees.map_leaves(lambda m, d: torch.lerp(m, d, 1 - b1), first, g)
        second = trees.map_leaves(lambda v, d: torch.lerp(v, d * d, 1 - b2), second, g)
        # mhat / sqrt(vhat + epsilon), with both corrections taken out of the tensors
        corrected1, corrected2 = 1 - b1**t, 1 - b2**t
        move = trees.map_leaves(lambda m, v: m * torch.rsqrt(v + epsilon * corrected2), first, second)
        eta = value_at(rate, t, lam) * (corrected2**0.5 / corrected1)
        return State(trees.axpy(-eta, move, s.w), (first, second))

    def start(lam: Tree) -> State:
        w = init(lam)
        return State(w, (trees.zeros_like(w), trees.zeros_like(w)))

    return Dynamics(start, step)


def adamw(
    objective: StepObjective,
    init: Init,
    *,
    rate: Scalar,
    decay: Scalar,
    beta1: Scalar = 0.9,
    beta2: Scalar = 0.999,
    epsilon: float = 1e-8,
) -> Dynamics:
    """Adam with decoupled decay (Loshchilov and Hutter 2019): w_t = Adam's w_t - eta decay w_{t-1}."""
    plain = adam(objective, init, rate=rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

    def step(t: int, s: State, lam: Tree) -> State:
        stepped = plain.step(t, s, lam)
        shrunk = value_at(rate, t, lam) * value_at(decay, t, lam)
        return stepped._replace(w=trees.axpy(-shrunk, s.w, stepped.w))

    return Dynamics(plain.init, step)


def rmsprop(
    objective: StepObjective, init: Init, *, rate: Scalar, beta: Scalar = 0.99, epsilon: float = 1e-8
) -> Dynamics:
    """v_t = beta v_{t-1} + (1 - beta) g_t^2, w_t = w_{t-1} - eta g_t / sqrt(v_t + epsilon) (Tieleman and Hinton 2012).

    Epsilon stands under the root, so that the step is smooth.
    """
    gradient = derivatives.gradient(objective, 1)

    def step(t: int, s: State, lam: Tree) -> State:
        b = value_at(beta, t, lam)
        g = gradient(t, s.w, lam)
        second = trees.map_leaves(lambda v, d: torch.lerp(v, d * d, 1 - b), s.aux, g)
        move = trees.map_leaves(lambda v, d: d * torch.rsqrt(v + epsilon), second, g)
        return State(trees.axpy(-value_at(rate, t, lam), move, s.w), second)

    return Dynamics(_at_rest(init), step)


def line_search(
    objective: StepObjective,
    init: Init,
    *,
    rate: float,
    shrink: float = 0.5,
    decrease: float = 1e-4,
    trials: int = 30,
) -> Dynamics:
    """Gradient descent with backtracking (Armijo 1966): the largest eta in rate, rate shrink, rate shrink^2, ... with

    L(w - eta g) <= L(w) - decrease eta ||g||^2, g = grad L(w); w stays where it is if none of `trials` of them do.
    The objective never grows, whatever the rate. Which eta is chosen jumps with lam: not to be differentiated.
    """
    gradient_and_value = derivatives.gradient_and_value(objective, 1)

    def step(t: int, s: State, lam: Tree) -> State:
        gradient, value = gradient_and_value(t, s.w, lam)
        wanted = decrease * trees.dot(gradient, gradient)
        for trial in range(trials):
            eta = rate * shrink**trial
            w = trees.axpy(-eta, gradient, s.w)
            if objective(t, w, lam) <= value - eta * wanted:
                return State(w)
        return s

    return Dynamics(lambda lam: State(init(lam)), step)


def _moments(s: State) -> tuple[Tree, Tree]:
    assert isinstance(s.aux, tuple)
    first, second = s.aux
    return first, second


def _at_rest(init: Init) -> Callable[[Tree], State]:
    def start(lam: Tree) -> State:
        w = init(lam)
        return State(w, trees.zeros_like(w))

    return start
