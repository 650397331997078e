"""Learning to optimize: the inner dynamics are a network, whose parameters are outer (Andrychowicz et al. 2016).

theta_t = theta_{t-1} + g_t, (g_t, h_t) = N_lam(grad L_t(theta_{t-1}), h_{t-1}); E = mean over tasks and the T steps of
an unroll of L_{t+1}(theta_t), the loss after each step on what the next one sees. w = (theta, sum of these losses).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, assert_never, cast

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import gradient
from core.bilevel.problem import Dynamics, Problem, State, Tree
from core.bilevel.randomness import stream
from core.models.model import Model
from core.models.optimizer_networks import OptimizerNetwork, lstm_optimizer, mlp_optimizer
from core.problems.inner import Inner, entry
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Metrics, metric
from core.problems.optimization_tasks import Part, Stacked, TaskFamily, at_most, classification, quadratics
from core.problems.optimizer_comparison import Comparison, Walk, compare
from core.spec import learned_problems as spec
from core.spec.learned_reports import TOGETHER


class Inside(NamedTuple):
    """The inner variables."""

    theta: Tensor
    """Parameters of the tasks [tasks, n]."""
    total: Tensor
    """Sum of the losses after the steps of the present unroll [tasks]."""

    def tree(self) -> Tree:
        """As w."""
        return {"theta": self.theta, "total": self.total}


def inside(w: Tree) -> Inside:
    """Reads w."""
    return Inside(entry(w, "theta"), entry(w, "total"))


@dataclass(frozen=True)
class Learning:
    """The network, and what it learns on."""

    problem: spec.LearnedOptimizer
    network: OptimizerNetwork
    family: TaskFamily
    steps: int
    """T."""
    context: Context

    @property
    def trained(self) -> int:
        """Steps that a task is trained for."""
        return self.steps * self.problem.unrolls

    def at(self, k: int) -> tuple[Problem, Dynamics]:
        """The meta-batch of hyperiteration k, the same for all unrolls of an inner run."""
        return self.state(self.family.draw("training", k // self.problem.unrolls, self.problem.meta_batch))

    def state(self, tasks: Stacked) -> tuple[Problem, Dynamics]:
        """The bilevel problem of some tasks."""

        def inner(w: Tree, lam: Tree) -> Tensor:
            return tasks.losses(None, inside(w).theta).sum()

        def outer(w: Tree, lam: Tree) -> Tensor:
            return inside(w).total.mean() / self.steps

        def init(lam: Tree) -> Tree:
            return Inside(tasks.start, torch.zeros_like(tasks.start[:, 0])).tree()

        return Problem(inner, outer, init), self.dynamics(tasks)

    def dynamics(self, tasks: Stacked) -> Dynamics:
        """Phi; the running sum starts anew with every unroll."""
        slope = gradient(tasks.total(), 1)

        def init(lam: Tree) -> State:
            total = torch.zeros_like(tasks.start[:, 0])
            return State(Inside(tasks.start, total).tree(), self.network.rest(tasks.start))

        def step(t: int, s: State, lam: Tree) -> State:
            theta, total = inside(s.w)
            seen = slope(t, theta if self.problem.second_order else theta.detach())
            move, memory = self.network.update(parameters(lam), seen, s.aux)
            theta = theta + move
            before = torch.zeros_like(total) if (t - 1) % self.steps == 0 else total
            return State(Inside(theta, before + tasks.losses(t + 1, theta)).tree(), memory)

        return Dynamics(init, step)

    def drawn(self, part: Part) -> Iterator[Stacked]:
        """The tasks of an evaluation, a bounded number of coordinates at a time; the same ones at every call."""
        together = max(1, TOGETHER // self.family.coordinates)
        return at_most(self.family, part, self.context.episodes, together)

    @torch.no_grad()
    def evaluate(self, lam: Tree, w: "Tree | None" = None) -> Evaluation:
        """On tasks that it has not seen, from their start, for as many steps as a task is trained for."""
        return Evaluation(self.score(lam, "validation"), self.score(lam, "test"))

    def score(self, lam: Tree, part: Part) -> Metrics:
        """`loss` after the last step, `mean_loss` over all steps (of minibatches, where the tasks have them)."""
        last, mean = [], []
        for tasks in self.drawn(part):
            dynamics, sums = self.dynamics(tasks), torch.zeros_like(tasks.start[:, 0])
            state = dynamics.init(lam)
            for t in range(1, self.trained + 1):
                state = dynamics.step(t, state, lam)
                if t % self.steps == 0:
                    sums += inside(state.w).total
            last.append(tasks.losses(None, inside(state.w).theta))
            mean.append(sums / self.trained)
        return {"loss": metric(torch.cat(last), "episodes"), "mean_loss": metric(torch.cat(mean), "episodes")}

    def walk(self, lam: Tree) -> Walk:
        """The learned optimizer as something that can be compared."""

        def walk(tasks: Stacked) -> Iterator[Tensor]:
            dynamics, t = self.dynamics(tasks), 0
            state = dynamics.init(lam)
            while True:
                t += 1
                state = dynamics.step(t, state, lam)
                yield inside(state.w).theta

        return walk

    @torch.no_grad()
    def report(self, lam: Tree) -> dict[str, Any]:
        """Test tasks by the learned optimizer and by tuned ones, for as many steps as it was trained for and more."""
        longer = self.problem.horizon or 2 * self.trained
        comparison = Comparison(lambda: self.drawn("validation"), lambda: self.drawn("test"), self.walk(lam))
        return compare(comparison, {"trained": self.trained, "longer": longer})

    def natural(self, lam: Tree) -> Mapping[str, Tensor]:
        """The size of the network's parameters."""
        return {"parameter_norm": trees.norm(lam)}


def parameters(lam: Tree) -> Tree:
    """Of the network."""
    return cast("Mapping[str, Tree]", lam)["optimizer"]


def learned_optimizer(problem: spec.LearnedOptimizer, model: Model | None, inner: Inner, context: Context) -> Instance:
    """Metrics over tasks; the report compares with SGD, momentum and Adam. The model is that of classification."""
    network, family = _network(problem, context.dtype), _family(problem, model, context)
    learning = Learning(problem, network, family, inner.steps, context)
    start = network.init(stream(context.seed, "initialization"))
    return Instance(
        initial=context.place({"optimizer": start}),
        at=learning.at,
        evaluate=learning.evaluate,
        selection=LOWEST_LOSS,
        natural=learning.natural,
        report=learning.report,
        unrolls=problem.unrolls,
        origin=family.origin,
    )


def _network(problem: spec.LearnedOptimizer, dtype: torch.dtype) -> OptimizerNetwork:
    chosen = problem.optimizer
    knobs: dict[str, Any] = {"scale": chosen.scale, "log_range": chosen.log_range, "dtype": dtype}
    match chosen:
        case spec.LstmOptimizer():
            return lstm_optimizer(chosen.hidden, chosen.layers, **knobs)
        case spec.MlpOptimizer():
            return mlp_optimizer(chosen.hidden, chosen.decays, rate=chosen.rate, **knobs)
        case _:
            assert_never(chosen)


def _family(problem: spec.LearnedOptimizer, model: Model | None, context: Context) -> TaskFamily:
    match problem.tasks:
        case spec.Quadratics():
            return quadratics(problem.tasks, context)
        case spec.Classification():
            assert model is not None
            return classification(problem.tasks, model, context)
        case _:
            assert_never(problem.tasks)
