"""What only few-shot problems can have: classes, heads, joint training, meta-batches in chunks, shorter formats."""

from core.spec.algorithms import (
    Algorithm,
    Exact,
    FirstOrder,
    Implicit,
    Joint,
    RandomForward,
    RealTime,
    Reptile,
    Reverse,
    Reversible,
    Stepped,
    Unrolled,
)
from core.spec.base import refuse
from core.spec.heads import RidgeHeads, SoftmaxHeads
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.problems import FewShot, HyperRepresentation, Initialization, Problem
from core.spec.stochastic import Stochastic


def check_heads(problem: Problem, algorithm: Stepped) -> None:
    """Refuses a hypergradient that misses an outer variable of the heads."""
    if not isinstance(problem, HyperRepresentation) or not isinstance(problem.heads, RidgeHeads):
        return
    if isinstance(algorithm.hypergradient, FirstOrder):
        refuse(
            "/algorithm/hypergradient",
            "`first_order` does not differentiate the inner steps, which the strength of `ridge` heads is in: use "
            "`exact` or `reverse`, or the heads `softmax`",
        )


def check_joint(problem: Problem, algorithm: Joint) -> None:
    """Refuses joint training of what heads and representation should not, or do not, minimize together."""
    if not isinstance(problem, HyperRepresentation):
        refuse(
            "/algorithm/kind",
            f"`joint` trains a representation and the heads of its tasks, which {problem.kind} does not have: use "
            "`nested`, or the problem `hyper_representation`",
        )
    if not isinstance(problem.heads, SoftmaxHeads):
        refuse(
            "/problem/heads",
            f"`{problem.heads.kind}` heads have an inner objective that is not for lam to minimize: "
            f"{'no strength' if isinstance(problem.heads, RidgeHeads) else 'features that are all alike'} would be "
            "best: use the heads `softmax`, or `nested`",
        )
    if problem.outer_set != "support":
        refuse(
            "/problem/outer_set",
            "`joint` minimizes the inner objective alone and sees no query sets: set it to `support`, best with a "
            "larger `training_shot`",
        )
    if learned := algorithm.dynamics.learned():
        refuse(
            f"/algorithm/dynamics/{learned[0]}",
            "`joint` differentiates through no step, which the dynamics' own outer variables are in: leave it out, or "
            "use `nested`",
        )
    for name in ("rate_per_step", "momentum_per_step", "rate_per_parameter"):
        if getattr(algorithm.dynamics, name, False):
            refuse(f"/algorithm/dynamics/{name}", "`joint` learns no dynamics: leave it out")
    if algorithm.dynamics.batch is not None:
        refuse(
            "/algorithm/dynamics/batch",
            f"{problem.kind} has no minibatches of its inner objective: leave `batch` out",
        )


def check_transfer(problem: Problem, algorithm: Stepped) -> None:
    """Refuses what needs inner variables where there are none."""
    if not isinstance(problem, MulticlassTransfer):
        return
    if isinstance(algorithm, RealTime):
        refuse(
            "/algorithm/kind",
            f"`real_time` goes on with the inner variables of the last hyperiteration, and {problem.kind} has none: "
            "use `nested`",
        )
    if isinstance(algorithm.hypergradient, Implicit | RandomForward | Reversible):
        refuse(
            "/algorithm/hypergradient",
            f"`{algorithm.hypergradient.kind}` is for inner problems that are large or hard, and {problem.kind} has no "
            "inner variables: use `exact`, the plain gradient",
        )
    if learned := algorithm.dynamics.learned():
        refuse(
            f"/algorithm/dynamics/{learned[0]}",
            f"the dynamics fit the heads of evaluations only, where nothing is differentiated, for {problem.kind} has "
            "no inner variables: leave it out",
        )


def check_ways(problem: FewShot) -> None:
    """Refuses tasks with more classes than there are to draw from."""
    fewest, most = problem.dataset.pools()
    pool = "alphabet" if getattr(problem.dataset, "split", None) == "alphabets" else "meta-set"
    least = problem.way_from if isinstance(problem, HyperRepresentation) else None
    training = problem.training_way if isinstance(problem, HyperRepresentation) else None
    if training is not None and least is not None:
        refuse(
            "/problem/training_way",
            "with `way_from` each task draws its number of classes, in meta-training too: leave one of both out",
        )
    where, drawn = "meta-training", problem.dataset.class_counts()[0]
    if pool == "alphabet":
        where, drawn = "the smallest alphabet", fewest
    if training is not None and training > drawn:
        refuse("/problem/training_way", f"{training} ways, but {where} has {drawn} classes: lower `training_way`")
    if least is None:
        if problem.way > fewest:
            ranged = pool == "alphabet" and isinstance(problem, HyperRepresentation)
            refuse(
                "/problem/way",
                f"{problem.way} ways, but the smallest {pool} has {fewest} classes: lower `way`"
                + (f", or give `way_from`, with which it may be up to {most}" if ranged else ""),
            )
        return
    if least > problem.way:
        refuse("/problem/way_from", f"{least} is above `way`, the most classes of a task, {problem.way}: lower it")
    if least > fewest:
        refuse("/problem/way_from", f"{least} ways, but the smallest {pool} has {fewest} classes: lower `way_from`")
    if problem.way > most:
        refuse("/problem/way", f"{problem.way} ways, but the largest {pool} has {most} classes: lower `way`")


def check_chunk(problem: Problem, algorithm: Algorithm) -> None:
    """Refuses chunks of tasks where they would not save memory, or not give the same hypergradient."""
    if not isinstance(problem, HyperRepresentation | Initialization) or isinstance(algorithm, Stochastic):
        return
    if problem.task_chunk is None:
        return
    if problem.task_chunk > problem.meta_batch:
        refuse(
            "/problem/task_chunk",
            f"a chunk of {problem.task_chunk} is larger than the meta-batch of {problem.meta_batch}: "
            "lower `task_chunk` or leave it out",
        )
    chosen = algorithm if isinstance(algorithm, Joint) else algorithm.hypergradient
    if not isinstance(chosen, Reverse | Reversible | Unrolled | FirstOrder | Exact | Reptile):
        refuse(
            "/problem/task_chunk",
            f"`{chosen.kind}` takes the meta-batch as a whole: leave `task_chunk` out, or use `reverse`",
        )


def check_numerics(problem: Problem, *, precision: str, tf32: bool) -> None:
    """Refuses formats of numbers that the problem has no use for."""
    if precision == "bf16" and not isinstance(problem, HyperRepresentation | MulticlassTransfer):
        refuse(
            "/resources/precision",
            "`bf16` is for the networks of `hyper_representation` and `multiclass_transfer`, not for "
            f"{problem.kind}: use `float32`",
        )
    if tf32 and precision == "float64":
        refuse(
            "/resources/tf32",
            "TF32 shortens the factors of float32 products, of which there are none: leave `tf32` out, or use the "
            "precision `float32`",
        )
