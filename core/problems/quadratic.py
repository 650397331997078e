"""A strongly convex toy with everything in closed form.

L(w, lam) = 1/2 w'A w - w'(B lam + b), E(w, lam) = 1/2 ||w - c||^2 + damping/2 ||lam||^2, w_0 = 0.
With w*(lam) = A^-1 (B lam + b) the exact objective f(lam) = E(w*(lam), lam) is a quadratic in lam.
"""

import torch
from torch import Tensor

from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Problem, Tree
from core.bilevel.randomness import stream
from core.problems.inner import Inner, entry
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, metric
from core.spec import problems as spec


def quadratic(problem: spec.Quadratic, inner: Inner, context: Context) -> Instance:
    """Validation `loss` is f_T(lam), what is minimized; test `loss` is f(lam), and `suboptimality` f(lam) - min f."""
    A, B, b, c = (context.place(part) for part in draw(problem, context.seed))

    def loss(w: Tree, lam: Tree) -> Tensor:
        assert isinstance(w, Tensor)
        return torch.dot(w, 0.5 * (A @ w) - B @ entry(lam, "lam") - b)

    def outer(w: Tree, lam: Tree) -> Tensor:
        assert isinstance(w, Tensor)
        own = entry(lam, "lam")
        distance = w - c
        return 0.5 * torch.dot(distance, distance) + 0.5 * problem.damping * torch.dot(own, own)

    def solution(lam: Tree) -> Tensor:
        found: Tensor = torch.linalg.solve(A, B @ entry(lam, "lam") + b)
        return found

    def init(lam: Tree) -> Tensor:
        return torch.zeros_like(b)

    stated = Problem(loss, outer, init, solution)
    dynamics = inner.dynamics(full_batch(loss), init)
    lowest = _minimum(A, B, b, c, problem.damping)

    def evaluate(lam: Tree, w: "Tree | None" = None) -> Evaluation:
        exact = outer(solution(lam), lam)
        approximate = outer(inner.solve(stated, dynamics, lam) if w is None else w, lam)
        return Evaluation(
            {"loss": metric(approximate)}, {"loss": metric(exact), "suboptimality": metric(exact - lowest)}
        )

    return Instance(
        initial=context.place({"lam": torch.zeros(problem.outer_dimension), **inner.initial()}),
        at=lambda k: (stated, dynamics),
        evaluate=evaluate,
        selection=LOWEST_LOSS,
        natural=lambda lam: {"lam": entry(lam, "lam"), **inner.natural(lam)},
        report=lambda lam: {"minimum": float(lowest)},
    )


def draw(problem: spec.Quadratic, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A [d, d] with eigenvalues from 1/condition to 1, spread evenly by their logarithm; normal B [d, m], b, c [d]."""
    d, m = problem.inner_dimension, problem.outer_dimension
    generator = stream(seed, "quadratic")

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    basis = torch.linalg.qr(normal(d, d)).Q
    eigenvalues = torch.logspace(0, 1, d, base=1 / problem.condition, dtype=torch.float64)
    return (basis * eigenvalues) @ basis.T, normal(d, m) / m**0.5, normal(d), normal(d)


def _minimum(A: Tensor, B: Tensor, b: Tensor, c: Tensor, damping: float) -> Tensor:
    """min f: least squares of [A^-1 B; sqrt(damping) I] lam against [c - A^-1 b; 0], in float64."""
    A, B, b, c = (part.double().cpu() for part in (A, B, b, c))
    m = B.shape[1]
    design = torch.cat([torch.linalg.solve(A, B), damping**0.5 * torch.eye(m, dtype=torch.float64)])
    target = torch.cat([c - torch.linalg.solve(A, b), torch.zeros(m, dtype=torch.float64)])
    # gelsd: the design is rank deficient where damping is 0 and there are more outer than inner variables.
    best = torch.linalg.lstsq(design, target.unsqueeze(1), driver="gelsd").solution.squeeze(1)
    rest = design @ best - target
    return 0.5 * torch.dot(rest, rest)
