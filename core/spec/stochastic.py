"""Algorithms that keep the inner variables and move them and the outer ones together, a minibatch at a time.

They need a problem whose objectives are means over examples. In the formulas L is the inner and E the outer objective,
each on a minibatch of its own; v estimates -(grad_ww L)^-1 grad_w E; k counts hyperiterations from 0.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from core.spec.base import Count, Rate, Spec

Exponent = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(ge=1, le=100_000)]


def name_the_kind(schema: dict[str, Any]) -> None:
    """For algorithms that are not the default."""
    # An algorithm without a kind is nested: the schema must not take it for one of these.
    schema["required"] = ["kind", *schema.get("required", ())]


class Stochastic(Spec):
    """Fields that all of these algorithms have."""

    model_config = ConfigDict(json_schema_extra=name_the_kind)

    inner_rate: Rate = 0.1
    """Step size of the inner variables (and of v) at hyperiteration 0."""
    outer_rate: Rate = 0.01
    """Step size of the outer variables at hyperiteration 0."""
    inner_exponent: Exponent = 0.0
    """Exponent e of the decay of the inner step size, inner_rate / (k + 1)^e."""
    outer_exponent: Exponent = 0.0
    """Exponent e of the decay of the outer step size, outer_rate / (k + 1)^e."""
    batch: Count | None = 64
    """Largest minibatch of either objective; the examples are cut into blocks of nearly equal size, drawn without
    replacement by (seed, hyperiteration). Null: all examples, a deterministic algorithm."""
    hyperiterations: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    """Outer steps."""


class Soba(Stochastic):
    """SOBA (Dagréou et al. 2022): one step of w, v and lam together, each along a stochastic direction.

    w -= rho grad_w L, v -= rho (grad_ww L v + grad_w E), lam -= gamma (grad_lam,w L v + grad_lam E), at the old point.
    """

    kind: Literal["soba"] = "soba"
    inner_exponent: Exponent = 0.5
    """Exponent e of the decay of the inner step size, inner_rate / (k + 1)^e."""
    outer_exponent: Exponent = 0.5
    """Exponent e of the decay of the outer step size, outer_rate / (k + 1)^e."""


class MaSoba(Stochastic):
    """MA-SOBA (Chen et al. 2023): SOBA whose outer variables follow a moving average d <- (1 - theta) d + theta D."""

    kind: Literal["ma_soba"] = "ma_soba"
    inner_exponent: Exponent = 0.5
    """Exponent e of the decay of the inner step size, inner_rate / (k + 1)^e."""
    outer_exponent: Exponent = 0.5
    """Exponent e of the decay of the outer step size, outer_rate / (k + 1)^e."""
    averaging: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight theta of the newest direction; 1 is SOBA."""


class Saba(Stochastic):
    """SABA (Dagréou et al. 2022): SOBA with every minibatch's last value remembered (SAGA), at constant rates.

    Memory: for each block of training examples twice the inner variables and once the outer ones, for each block of
    validation examples once either.
    """

    kind: Literal["saba"] = "saba"


class Srba(Stochastic):
    """SRBA (Dagréou et al. 2023): SOBA whose directions are corrected from point to point (SARAH), at constant rates.

    Every `period` hyperiterations they are computed from all examples, in between by the change of one minibatch.
    """

    kind: Literal["srba"] = "srba"
    period: Count | None = None
    """Hyperiterations between two passes over all examples; by default the number of minibatches of both objectives."""


class StocBio(Stochastic):
    """stocBiO (Ji et al. 2021): inner steps, a Neumann series of stochastic Hessian products for v, an outer step."""

    kind: Literal["stocbio"] = "stocbio"
    inner_steps: Steps = 10
    """Stochastic gradient steps of the inner variables a hyperiteration."""
    linear_steps: Steps = 10
    """Hessian products of the series."""


class Amigo(Stochastic):
    """AmIGO (Arbel and Mairal 2022): inner steps, steps v -= rho (grad_ww L v + grad_w E), an outer step."""

    kind: Literal["amigo"] = "amigo"
    inner_steps: Steps = 10
    """Stochastic gradient steps of the inner variables a hyperiteration."""
    linear_steps: Steps = 10
    """Steps of v a hyperiteration, from the last v."""


class Ttsa(Stochastic):
    """TTSA (Hong et al. 2023): one inner and one outer step, on two time scales; v is a random term of the series."""

    kind: Literal["ttsa"] = "ttsa"
    inner_exponent: Exponent = 0.4
    """Exponent e of the decay of the inner step size, inner_rate / (k + 1)^e."""
    outer_exponent: Exponent = 0.6
    """Exponent e of the decay of the outer step size, outer_rate / (k + 1)^e."""
    linear_rate: Rate = 0.1
    """Rate of the Neumann series, constant; stable below two over the largest inner curvature."""
    linear_steps: Steps = 10
    """Terms of the series that one is drawn from."""


class F2sa(Stochastic):
    """F2SA (Kwon et al. 2023): gradients only; the inner problem as a penalty whose weight mu_k grows.

    z -= rho grad_w L(z), y -= rho (grad_w L(y) + grad_w E(y) / mu_k), each `inner_steps` times;
    lam -= gamma (grad_lam E(y) + mu_k (grad_lam L(y) - grad_lam L(z))). The bias is of order 1 / mu_k.
    """

    kind: Literal["f2sa"] = "f2sa"
    inner_exponent: Exponent = 4 / 7
    """Exponent e of the decay of the inner step size, inner_rate / (k + 1)^e."""
    outer_exponent: Exponent = 5 / 7
    """Exponent e of the decay of the outer step size, outer_rate / (k + 1)^e."""
    multiplier: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Weight mu of the penalty at hyperiteration 0."""
    multiplier_exponent: Exponent = 1 / 7
    """Exponent e of its growth, multiplier (k + 1)^e; 0: constant."""
    inner_steps: Steps = 10
    """Steps of y and z a hyperiteration."""


class Bome(Stochastic):
    """BOME (Ye et al. 2022): gradients only; the weight of the penalty is what makes the optimality gap fall.

    q = L(w) - L(z), z by `inner_steps` steps from w; mu = max(phi - <grad E, grad q>, 0) / ||grad q||^2;
    (w, lam) -= rates x (grad E + mu grad q). At constant rates mu stays of order 1 / rate and the bias of order rate.
    """

    kind: Literal["bome"] = "bome"
    batch: Count | None = None
    """Largest minibatch of either objective. Null: all examples, as in the paper; minibatches bias the weight mu."""
    eta: Annotated[float, Field(gt=0, le=1e3)] = 0.5
    """Factor of phi."""
    barrier: Literal["gradient", "gap"] = "gradient"
    """phi = eta ||grad q||^2 (`gradient`) or eta q (`gap`)."""
    inner_steps: Steps = 10
    """Steps of z a hyperiteration."""


class Pbgd(Stochastic):
    """V-PBGD (Shen and Chen 2023): gradient descent on E + mu q, the optimality gap q as penalty of constant weight.

    z by `inner_steps` steps from the last z; w -= rho / (1 + mu) (grad_w E + mu grad_w L(w)),
    lam -= gamma (grad_lam E + mu (grad_lam L(w) - grad_lam L(z))). The bias is of order 1 / mu, and `outer_rate` has to
    be of that order too: the penalty makes lam stiff.
    """

    kind: Literal["pbgd"] = "pbgd"
    batch: Count | None = None
    """Largest minibatch of either objective. Null: all examples, as in the paper."""
    multiplier: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """Weight mu of the penalty."""
    inner_steps: Steps = 10
    """Steps of z a hyperiteration."""


AnyStochastic = Soba | MaSoba | Saba | Srba | StocBio | Amigo | Ttsa | F2sa | Bome | Pbgd
"""All of them."""
