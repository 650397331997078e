"""What can be asked for: the fields of a spec, and the facts that validation needs. No torch: the API imports this."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.plugins import PluginModel, PluginProblem, PluginTable


class RobustRegression(PluginProblem):
    """Linear regression where some training targets are far off; the outer variable says from where on an error is one.

    Inner: mean pseudo-Huber loss delta^2 (sqrt(1 + (r/delta)^2) - 1) of the residuals r, delta = exp(lam).
    Outer: half the mean squared error on clean validation data.
    """

    build = "bilevel_plugin_example.problem:robust_regression"
    kind: Literal["robust_regression"] = "robust_regression"
    features: Annotated[int, Field(ge=1, le=1000)] = 5
    """Features of an example."""
    examples: Annotated[int, Field(ge=2, le=100_000)] = 100
    """Training examples; there are as many for validation and test."""
    outliers: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Fraction of the training targets that are far off."""

    def inner_variables(self) -> int:
        """One weight a feature."""
        return self.features

    def outer_variables(self) -> int:
        """log delta."""
        return 1

    def training_examples(self) -> int:
        """Minibatches are drawn from all of them."""
        return self.examples

    def finite_sum(self) -> bool:
        """Both objectives are means over examples."""
        return True


class WithSquares(PluginModel):
    """Scores that are affine in the features and their squares, zero at the start."""

    build = "bilevel_plugin_example.model:with_squares"
    kind: Literal["with_squares"] = "with_squares"

    def inner_variables(self, features: int, outputs: int) -> int:
        """A weight for each feature, its square and the offset."""
        return (2 * features + 1) * outputs


class Spirals(PluginTable):
    """Two spirals in the plane, one class each."""

    build = "bilevel_plugin_example.dataset:spirals"
    source, licence = "made by a formula", "CC0-1.0"
    examples, features, classes = 600, 2, 2
    kind: Literal["spirals"] = "spirals"
    noise: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Deviation of the points from their spiral; the spirals are half a unit apart."""
