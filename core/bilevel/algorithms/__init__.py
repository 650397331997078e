"""What the loop calls once a hyperiteration."""

from core.bilevel.algorithms.nested import nested

__all__ = ["nested"]
