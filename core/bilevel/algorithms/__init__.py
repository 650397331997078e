"""What the loop calls once a hyperiteration."""

from core.bilevel.algorithms.averaged import averaged
from core.bilevel.algorithms.continued import continued
from core.bilevel.algorithms.joint import joint, joint_from_graphs
from core.bilevel.algorithms.nested import nested, nested_from_graph
from core.bilevel.algorithms.real_time import carried_forward, real_time

__all__ = [
    "averaged",
    "carried_forward",
    "continued",
    "joint",
    "joint_from_graphs",
    "nested",
    "nested_from_graph",
    "real_time",
]
