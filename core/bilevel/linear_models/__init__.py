"""Linear models with analytic gradients, Hessian products and adjoints: a faster way to what the plain methods find."""

from core.bilevel.linear_models.forward import push
from core.bilevel.linear_models.losses import LOGISTIC, SOFTMAX, SQUARED
from core.bilevel.linear_models.model import LinearModel
from core.bilevel.linear_models.reverse import reverse
from core.bilevel.linear_models.walk import gradient_descent

__all__ = ["LOGISTIC", "SOFTMAX", "SQUARED", "LinearModel", "gradient_descent", "push", "reverse"]
