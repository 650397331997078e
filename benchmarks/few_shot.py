"""A few-shot hyperiteration against its floor: one forward and backward pass of the same network, same images.

Random images stand for Omniglot: speed does not depend on what is drawn.
"""

from functools import partial
from pathlib import Path

import torch

from benchmarks.measure import interleaved, table
from core.bilevel import trees
from core.bilevel.embedding import through_embedding
from core.bilevel.hypergradients import reverse
from core.bilevel.problem import Method, Tree
from core.build import build_inner, build_representation
from core.datasets.episodes import Episodes
from core.problems.hyper_representation import heads
from core.problems.instance import Context
from core.spec.algorithms import GradientDescent, Nested
from core.spec.problems import HyperRepresentation

STEPS = (1, 4, 16, 64)


def compare(problem: HyperRepresentation, rounds: int) -> str:
    """Floor, dual walk and plain reverse mode for several numbers of inner steps."""
    context = Context(0, torch.float32, torch.device("cpu"), Path(), 1)
    network = build_representation(problem.model, torch.float32)
    lam = network.init(torch.Generator().manual_seed(0))
    fitted = heads(problem, context)
    sizes = (problem.way * problem.shot, problem.way * problem.query)
    support, query = (torch.rand(problem.meta_batch, size, 1, 28, 28) for size in sizes)
    episodes = Episodes(support, query, fitted.support_labels, fitted.query_labels)

    def embed(lam: Tree) -> Tree:
        return {"support": network.apply(lam, episodes.support), "query": network.apply(lam, episodes.query)}

    cotangent = trees.map_leaves(torch.ones_like, embed(lam))

    def floor() -> object:
        return torch.func.vjp(embed, lam)[1](cotangent)

    candidates = {"floor": floor}
    for steps in STEPS:
        inner = build_inner(Nested(steps=steps, dynamics=GradientDescent(rate=0.02)))
        stated = fitted.state(inner, embed)
        methods: dict[str, Method] = {"dual walk": fitted.dual_walk(inner), "plain reverse": reverse}
        for name, method in methods.items():
            candidates[f"{name}, T = {steps}"] = partial(through_embedding(method), *stated, lam, steps=steps)
    title = f"{problem.way}-way {problem.shot}-shot, meta-batch {problem.meta_batch}, {torch.get_num_threads()} threads"
    return table(title, interleaved(candidates, rounds))


def main(rounds: int) -> None:
    """Prints the comparison for two settings."""
    for meta_batch in (4, 16):
        print(compare(HyperRepresentation(meta_batch=meta_batch), rounds), end="\n\n")
