"""Files of other experiments, as problems read them: a callable that the caller of `core.run` gives."""

from collections.abc import Callable
from typing import NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Tree
from core.errors import DataInvalid, ReferenceInvalid
from core.spec import Experiment
from core.spec.problems import HyperRepresentation, Problem
from core.spec.references import references, unsuited


class Artifact(NamedTuple):
    """A file that an experiment has made, and what that experiment was."""

    spec: Experiment
    content: bytes


Artifacts = Callable[[str, str], Artifact]
"""(id of an experiment, name of its file) -> the file; raises ReferenceInvalid where there is none."""


def no_artifacts(experiment: str, name: str) -> Artifact:
    """For runs on their own: there are no other experiments."""
    raise ReferenceInvalid(
        f"the spec refers to {name} of the experiment {experiment}, which only the service that ran it knows: "
        "submit it there, or give `artifacts` to core.run"
    )


class MemoryArtifacts(dict[tuple[str, str], Artifact]):
    """In memory, by (id, name)."""

    def __call__(self, experiment: str, name: str) -> Artifact:
        """As `Artifacts`."""
        if (experiment, name) not in self:
            raise ReferenceInvalid(f"there is no {name} of an experiment {experiment}")
        return self[experiment, name]


class Learned(NamedTuple):
    """A representation that another experiment has learned."""

    seed: int
    """That split the classes: of the experiment, or of the one that it started from."""
    problem: HyperRepresentation
    content: bytes

    def parameters(self, like: Tree) -> Tree:
        """The network's parameters, a tree like the given one.

        Raises:
            DataInvalid: the file holds something else.
        """
        try:
            named = safetensors.torch.load(self.content)
            found: dict[str, Tree] = trees.from_named_leaves({"representation": like}, _of_network(named))
            return found["representation"]
        except (SafetensorError, ValueError) as error:
            raise DataInvalid(f"the file does not hold the parameters of its representation: {error}") from error


def learned(problem: Problem, artifacts: Artifacts) -> Learned | None:
    """The representation that the problem refers to; None where it refers to none.

    Raises:
        ReferenceInvalid: there is no such file, or it is of another kind of experiment than needed.
    """
    for reference in references(problem):
        found = artifacts(reference.part.experiment, reference.part.artifact)
        if (fault := unsuited(problem, reference, found.spec)) is not None:
            raise ReferenceInvalid(fault.reason, pointer=fault.pointer)
        assert isinstance(found.spec.problem, HyperRepresentation)
        return Learned(_split_seed(found.spec, artifacts), found.spec.problem, found.content)
    return None


def _split_seed(spec: Experiment, artifacts: Artifacts) -> int:
    """The seed that split the classes: an experiment that started from another one has that one's split."""
    while isinstance(spec.problem, HyperRepresentation) and (start := spec.problem.start) is not None:
        spec = artifacts(start.experiment, start.artifact).spec
    return spec.seed


def _of_network(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the outer variables of the inner dynamics; cloned, as tensors of a file need not be aligned, and kernels
    may round differently where they are not."""
    return {name: leaf.clone() for name, leaf in named.items() if name.startswith("representation/")}
