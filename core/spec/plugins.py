"""Kinds that installed packages add, by entry points; their specs are read here, their code only where it runs.

An entry point in the group `bilevel.problems`, `bilevel.models` or `bilevel.datasets` names a class that derives from
`PluginProblem`, `PluginModel` or `PluginTable`. The module of that class may import `core.spec.base`,
`core.spec.plugins` and, for a problem, `core.spec.datasets` and `core.spec.models`; it must not import torch.
"""

import json
import logging
import pkgutil
import sys
from abc import abstractmethod
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any, ClassVar, Literal, get_args, get_origin

from core.spec.base import Spec, kind_of
from core.spec.table import Table

logger = logging.getLogger(__name__)

LEFT_OUT = "is left out: "
"""In the line that warns of a class which cannot be used."""


class PluginProblem(Spec):
    """A kind of bilevel problem from an installed package.

    Its code: (spec, inner: core.problems.inner.Inner, context: core.problems.instance.Context) -> Instance.
    """

    group: ClassVar[str] = "bilevel.problems"
    build: ClassVar[str]
    """Where the code is, "package.module:function"."""
    kind: str

    @abstractmethod
    def inner_variables(self) -> int:
        """Number of inner variables."""

    @abstractmethod
    def outer_variables(self) -> int:
        """Number of outer variables, without those of the inner dynamics."""

    def training_examples(self) -> int | None:
        """Examples that minibatches of the inner objective are drawn from; None: it has no minibatches."""
        return None

    def closed_form(self) -> bool:
        """Whether the code gives the inner problem's solution, so that `exact` applies."""
        return False

    def finite_sum(self) -> bool:
        """Whether the code gives both objectives as means over examples, so that algorithms on minibatches apply."""
        return False

    def yardstick(self) -> dict[str, Any]:
        """What the validation metric is measured on, as plain JSON data; by default all fields, as any may decide it.

        A sweep has a best member where it is the same for all: leave fields out that are for training alone.
        """
        return self.model_dump(mode="json")


class PluginModel(Spec):
    """A ground model for feature vectors from an installed package.

    Its code: (spec, features, outputs, dtype) -> core.models.model.Model, whose parameters are {"weight", "bias"} of
    one affine layer or a list of such, each with "weight" [rows, columns].
    """

    group: ClassVar[str] = "bilevel.models"
    build: ClassVar[str]
    """Where the code is, "package.module:function"."""
    kind: str

    @abstractmethod
    def inner_variables(self, features: int, outputs: int) -> int:
        """Number of parameters."""

    def layers(self) -> int:
        """Affine layers: length of the list of parameters."""
        return 1


class PluginTable(Table):
    """A data set of feature vectors from an installed package.

    Its code: (spec, data_dir) -> core.datasets.table.Table of the sizes that the class says, targets whole numbers
    0 <= y < classes where it says `classes`, else finite numbers. What it needs and does not find in `data_dir` it
    reports as core.errors.DataMissing.
    """

    group: ClassVar[str] = "bilevel.datasets"
    build: ClassVar[str]
    """Where the code is, "package.module:function"."""
    source: ClassVar[str]
    """Who made the data."""
    licence: ClassVar[str] = "not stated"
    kind: str


Plugin = PluginProblem | PluginModel | PluginTable


def code_of(spec: Plugin) -> Callable[..., Any]:
    """Imports what `build` names."""
    code: Callable[..., Any] = pkgutil.resolve_name(spec.build)
    return code


def distribution_of(spec: Plugin) -> Distribution | None:
    """The installed package with an entry point into the package that the class is of; None: there is none."""
    package = type(spec).__module__.partition(".")[0]
    found = (point.dist for point in entry_points(group=spec.group) if point.module.partition(".")[0] == package)
    return next(found, None)


def extended(union: Any, base: type[Plugin], *others: type[Spec]) -> Any:
    """The union and the classes of installed packages that derive from `base`, which say what stands where.

    A class that cannot be used (its module fails, its kind is one of the union's or the others') is left out with a
    warning: a package must not keep the service from starting.
    """
    kinds = {kind_of(member) for member in (*get_args(union), *others)}
    for point in sorted(entry_points(group=base.group), key=lambda point: (point.name, point.value)):
        try:
            member = _load(point, base)
            if kind_of(member) in kinds:
                raise ValueError(f"the kind `{kind_of(member)}` exists already: give it another name")
        except Exception as error:  # noqa: BLE001  whatever another's module raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())  # on one line
            logger.warning("The entry point %s = %s in %s %s%s", point.name, point.value, base.group, LEFT_OUT, reason)
            continue
        kinds.add(kind_of(member))
        union = union | member
    return union


def _load(point: EntryPoint, base: type[Plugin]) -> type[Plugin]:
    """The class that an entry point names.

    Raises:
        TypeError, ValueError: it is not one that can stand in a spec; whatever its module raises.
    """
    torch_before = "torch" in sys.modules
    member = point.load()
    if "torch" in sys.modules and not torch_before:
        raise ValueError("its module imports torch, which the API does not load: let only what `build` names import it")
    if not (isinstance(member, type) and issubclass(member, base)):
        raise TypeError(f"it has to be a class that derives from {base.__module__}.{base.__name__}")
    annotation = member.model_fields["kind"].annotation
    if get_origin(annotation) is not Literal or get_args(annotation) != (member.model_fields["kind"].default,):
        raise TypeError('it needs a field kind: Literal["name"] = "name"')
    _check(member.model_validate({}))
    return member


def _check(example: Plugin) -> None:
    """Refuses a class that says too little: all that validation, the catalogue and the plan will ask for is asked."""
    if ":" not in example.build:
        raise ValueError(f'build is {example.build!r}: it has to be "package.module:function"')
    type(example).model_json_schema()
    match example:
        case PluginProblem():
            asked: tuple[Any, ...] = (example.inner_variables(), example.outer_variables() + 1)
            json.dumps(example.yardstick())
        case PluginModel():
            asked = (example.inner_variables(3, 2), example.layers())
        case PluginTable():
            asked = (example.examples, example.features, example.test_examples + 1, example.classes + 1)
            _ = example.source
    if not all(isinstance(number, int) and number > 0 for number in asked):
        raise ValueError(f"its sizes have to be whole numbers above 0, not {asked}")
