"""How torch computes while an experiment runs: TF32 and determinism as its spec says, and as before when it ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch

from core.spec import Experiment
from core.spec.experiment import Resources

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def numerics(resources: Resources) -> Iterator[None]:
    """Within it, products and kernels are those that the resources ask for.

    Deterministic products on a CUDA device need CUBLAS_WORKSPACE_CONFIG from before torch was loaded, which
    `core.settings.prepare_process` sets.
    """
    before = _get()
    _set(resources.tf32, resources.tf32, resources.deterministic)
    try:
        yield
    finally:
        _set(*before)


def by_resources(
    run: Callable[Concatenate[Experiment, P], R],
) -> Callable[Concatenate[Experiment, P], R]:
    """Runs it within the numerics of its first argument, a spec."""

    @wraps(run)
    def within(spec: Experiment, /, *args: P.args, **knobs: P.kwargs) -> R:
        with numerics(spec.resources):
            return run(spec, *args, **knobs)

    return within


def _get() -> tuple[bool, bool, bool]:
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return *tf32, torch.are_deterministic_algorithms_enabled()


def _set(products: bool, convolutions: bool, deterministic: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.use_deterministic_algorithms(deterministic)
