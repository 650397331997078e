"""Ways to compute the hypergradient; all have the signature of `core.bilevel.problem.Method`."""

from core.bilevel.hypergradients.exact import exact
from core.bilevel.hypergradients.first_order import first_order
from core.bilevel.hypergradients.forward import forward
from core.bilevel.hypergradients.implicit import dynamics_fixed_point, implicit, stationarity
from core.bilevel.hypergradients.random_forward import random_forward
from core.bilevel.hypergradients.reptile import reptile
from core.bilevel.hypergradients.reverse import reverse
from core.bilevel.hypergradients.reversible import reversible
from core.bilevel.hypergradients.unrolled import unrolled

__all__ = [
    "dynamics_fixed_point",
    "exact",
    "first_order",
    "forward",
    "implicit",
    "random_forward",
    "reptile",
    "reverse",
    "reversible",
    "stationarity",
    "unrolled",
]
