"""Factoring the part of lam that does not meet w: z = embed(lam), d/dlam = (dz/dlam)' d/dz."""

from dataclasses import replace

import torch

from core.bilevel.chunks import in_chunks
from core.bilevel.derivatives import vjp_once
from core.bilevel.problem import Dynamics, Hypergradient, Method, Problem, Tree


def through_embedding(method: Method) -> Method:
    """The method that runs `method` on the problem stated in z and pulls the hypergradient back to lam.

    The embedding runs forward once and backward once, whatever the method and the number of inner steps. The dynamics
    see z. A problem without an embedding goes to `method` as it is. Tasks are taken in the chunks that the problem
    asks for.
    """

    @torch.no_grad()
    def factored(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
        if problem.embed is None:
            return method(problem, dynamics, lam, steps=steps)
        z, pull = vjp_once(problem.embed, lam)
        inner = method(replace(problem, embed=None), dynamics, z, steps=steps)
        return inner._replace(grad=pull(inner.grad)[0])

    return in_chunks(factored)


def composed(problem: Problem, dynamics: Dynamics) -> tuple[Problem, Dynamics]:
    """The same problem and dynamics stated in lam: every function computes z = embed(lam) anew.

    The plain formulation, for what cannot factor the embedding; all others are tested against it.
    """
    embed, solution = problem.embed, problem.solution
    if embed is None:
        return problem, dynamics
    stated_in_lam = Problem(
        inner=lambda w, lam: problem.inner(w, embed(lam)),
        outer=lambda w, lam: problem.outer(w, embed(lam)),
        init=lambda lam: problem.init(embed(lam)),
        solution=None if solution is None else lambda lam: solution(embed(lam)),
    )
    return stated_in_lam, Dynamics(
        init=lambda lam: dynamics.init(embed(lam)),
        step=lambda t, s, lam: dynamics.step(t, s, embed(lam)),
    )
