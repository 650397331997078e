"""What an experiment is: frozen data, closed unions by `kind`, no torch. Its JSON Schema is the public contract."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.spec.catalog import KINDS, kind_of
    from core.spec.experiment import Evaluation, Experiment, Resources
    from core.spec.sweep import Sweep

__all__ = ["KINDS", "Evaluation", "Experiment", "Resources", "Sweep", "kind_of"]

_MODULES = {"KINDS": "catalog", "kind_of": "catalog", "Sweep": "sweep"}


def __getattr__(name: str) -> Any:
    """Closes the unions when they are first asked for: a plugin's module has to be able to import `core.spec.base`
    before, whichever of the two is imported first."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'experiment')}"), name)
