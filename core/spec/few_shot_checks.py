"""What only few-shot problems can have: numbers of classes, meta-batches in chunks, a network in a shorter format."""

from core.spec.algorithms import Algorithm, FirstOrder, Nested, Reverse, Reversible, Unrolled
from core.spec.base import refuse
from core.spec.problems import HyperRepresentation, Problem


def check_ways(problem: HyperRepresentation) -> None:
    """Refuses tasks with more classes than there are to draw from."""
    fewest, most = problem.dataset.pools()
    pool = "alphabet" if getattr(problem.dataset, "split", None) == "alphabets" else "meta-set"
    least = problem.way_from
    if least is None:
        if problem.way > fewest:
            refuse("/problem/way", f"{problem.way} ways, but the smallest {pool} has {fewest} classes: lower `way`")
        return
    if least > problem.way:
        refuse("/problem/way_from", f"{least} is above `way`, the most classes of a task, {problem.way}: lower it")
    if least > fewest:
        refuse("/problem/way_from", f"{least} ways, but the smallest {pool} has {fewest} classes: lower `way_from`")
    if problem.way > most:
        refuse("/problem/way", f"{problem.way} ways, but the largest {pool} has {most} classes: lower `way`")


def check_chunk(problem: Problem, algorithm: Algorithm) -> None:
    """Refuses chunks of tasks where they would not save memory, or not give the same hypergradient."""
    if not isinstance(problem, HyperRepresentation) or not isinstance(algorithm, Nested) or problem.task_chunk is None:
        return
    if problem.task_chunk > problem.meta_batch:
        refuse(
            "/problem/task_chunk",
            f"a chunk of {problem.task_chunk} is larger than the meta-batch of {problem.meta_batch}: "
            "lower `task_chunk` or leave it out",
        )
    if not isinstance(algorithm.hypergradient, Reverse | Reversible | Unrolled | FirstOrder):
        refuse(
            "/problem/task_chunk",
            f"`{algorithm.hypergradient.kind}` takes the meta-batch as a whole: leave `task_chunk` out, or use "
            "`reverse`",
        )


def check_numerics(problem: Problem, *, precision: str, tf32: bool) -> None:
    """Refuses formats of numbers that the problem has no use for."""
    if precision == "bf16" and not isinstance(problem, HyperRepresentation):
        refuse(
            "/resources/precision",
            f"`bf16` is for the representation of few-shot problems, which {problem.kind} does not have: use `float32`",
        )
    if tf32 and precision == "float64":
        refuse(
            "/resources/tf32",
            "TF32 shortens the factors of float32 products, of which there are none: leave `tf32` out, or use the "
            "precision `float32`",
        )
