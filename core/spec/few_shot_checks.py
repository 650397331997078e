"""What only few-shot problems can have: meta-batches in chunks, and a network in a shorter format."""

from core.spec.algorithms import Algorithm, FirstOrder, Nested, Reptile, Reverse, Reversible, Unrolled
from core.spec.base import refuse
from core.spec.problems import HyperRepresentation, Initialization, Problem


def check_chunk(problem: Problem, algorithm: Algorithm) -> None:
    """Refuses chunks of tasks where they would not save memory, or not give the same hypergradient."""
    if not isinstance(problem, HyperRepresentation | Initialization) or not isinstance(algorithm, Nested):
        return
    if problem.task_chunk is None:
        return
    if problem.task_chunk > problem.meta_batch:
        refuse(
            "/problem/task_chunk",
            f"a chunk of {problem.task_chunk} is larger than the meta-batch of {problem.meta_batch}: "
            "lower `task_chunk` or leave it out",
        )
    if not isinstance(algorithm.hypergradient, Reverse | Reversible | Unrolled | FirstOrder | Reptile):
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
            f"`bf16` is for the representation of `hyper_representation`, not for {problem.kind}: use `float32`",
        )
    if tf32 and precision == "float64":
        refuse(
            "/resources/tf32",
            "TF32 shortens the factors of float32 products, of which there are none: leave `tf32` out, or use the "
            "precision `float32`",
        )
