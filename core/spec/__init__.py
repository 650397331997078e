"""What an experiment is: frozen data, closed unions by `kind`, no torch. Its JSON Schema is the public contract."""

from core.spec.catalog import KINDS, kind_of
from core.spec.experiment import Evaluation, Experiment, Resources

__all__ = ["KINDS", "Evaluation", "Experiment", "Resources", "kind_of"]
