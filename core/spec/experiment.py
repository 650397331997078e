"""The experiment: the whole of what a user submits."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from core.spec.algorithms import Algorithm, Nested
from core.spec.base import Label, Spec
from core.spec.checks import check_algorithm
from core.spec.diagnostics import Diagnostics, check_diagnostics
from core.spec.few_shot_checks import check_chunk, check_numerics
from core.spec.learned_problems import LearnedOptimizer
from core.spec.problem_checks import check_problem
from core.spec.problems import FewShot, Problem

MOST_LABELS = 50
"""Labels of an experiment, at most."""
PROCESS_MB = 400
"""MiB of main memory that a child process holds before it has loaded anything, on a CPU."""
Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Evaluation(Spec):
    """When and how the outer variables are evaluated on (meta-)validation data."""

    every: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Hyperiterations between evaluations; by default 100 where they are of episodes or tasks, which take long, else a
    tenth of all hyperiterations, at most 100. The last hyperiteration is evaluated always."""
    episodes: Annotated[int, Field(ge=1, le=100_000)] = 600
    """Episodes of an evaluation (few-shot problems), or tasks (`learned_optimizer`)."""
    patience: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Early stopping: the experiment is done when so many evaluations in a row, the last one among them, have not
    improved the best validation metric; by default it makes all hyperiterations."""


class Resources(Spec):
    """Where it runs and what it may use."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: whatever the slot that takes it has."""
    precision: Literal["float32", "float64", "bf16"] = "float32"
    """Floating-point format of all tensors. `bf16` (few-shot problems): the representation's forward and backward pass
    in bfloat16; heads, inner steps, outer variables and optimizer in float32."""
    tf32: bool = False
    """Whether float32 products on a CUDA device may round their factors to TF32 (10 bits), which is faster."""
    deterministic: bool = False
    """Whether only deterministic kernels may run, so that a CUDA device repeats a run to the bit, too, at some cost in
    speed; a step that has none fails. The CPU's are deterministic as they are."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Higher goes first; experiments of the same priority go in the order they came."""
    time_limit: Annotated[float, Field(gt=0, le=3e6)] | None = None
    """Seconds that an attempt may run, wall clock; by default no limit."""
    memory_limit: Annotated[int, Field(ge=PROCESS_MB, le=10_000_000)] | None = None
    """MiB of main memory that the child process may take, which holds 400 before it has loaded anything; by default
    the slot's share of nine tenths of the machine."""


class Experiment(Spec):
    """A bilevel experiment: a problem, an algorithm, and how to evaluate."""

    name: Label = "untitled"
    """A name for people; need not be unique."""
    labels: Annotated[dict[Label, Label], Field(max_length=MOST_LABELS)] = Field(default_factory=dict)
    """Names and values to find it by."""
    seed: Seed = 0
    """All randomness (splits, episodes, initialization) is a function of it."""
    problem: Problem
    """The bilevel problem."""
    algorithm: Algorithm = Field(default_factory=Nested)
    """The algorithm."""
    evaluation: Evaluation = Field(default_factory=Evaluation)
    """When and how it is evaluated."""
    diagnostics: Diagnostics = Field(default_factory=Diagnostics)
    """What is measured beside the hypergradient."""
    resources: Resources = Field(default_factory=Resources)
    """Device, precision, priority, and the limits of an attempt."""

    @model_validator(mode="after")
    def _possible(self) -> "Experiment":
        check_problem(self.problem)
        check_algorithm(self.problem, self.algorithm)
        check_chunk(self.problem, self.algorithm)
        check_numerics(self.problem, precision=self.resources.precision, tf32=self.resources.tf32)
        check_diagnostics(self.problem, self.algorithm, self.diagnostics)
        return self

    @property
    def evaluated_every(self) -> int:
        """Hyperiterations between evaluations: `evaluation.every`, or what its default means, rounded up."""
        long = isinstance(self.problem, FewShot | LearnedOptimizer)
        return self.evaluation.every or (100 if long else min(max(-(-self.algorithm.hyperiterations // 10), 1), 100))

    def canonical(self) -> dict[str, Any]:
        """The spec as plain JSON values with every default written out."""
        return self.model_dump(mode="json")

    def sha256(self) -> str:
        """Hash of what the spec says beyond the defaults; two specs with the same hash ask for the same.

        Which data and code answered is in `data` and `environment` of the result.

        A later version that adds a field with a default leaves the hashes of all specs as they are, and one that
        changes a default those of specs with every default written out, as they are stored.
        """
        text = json.dumps(_chosen(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


FIRST_DEFAULTS: Mapping[tuple[type[Spec], str], Any] = {(Evaluation, "every"): 100}
"""Of the fields whose default has changed since, what it was at first: hashes go by that."""


def _chosen(part: Spec) -> dict[str, Any]:
    """The fields that differ from their first defaults, and every `kind`."""
    found: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        first = FIRST_DEFAULTS.get((type(part), name), field.get_default(call_default_factory=True))
        if isinstance(value, Spec):
            inside = _chosen(value)
            # An object with a kind says at least that; one without is all defaults where nothing in it is chosen.
            if inside and (value != first or "kind" not in inside):
                found[name] = inside
        elif name == "kind" or value != first:
            found[name] = value
    return found
