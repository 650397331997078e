import math

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from core.bilevel.randomness import stream
from core.models.image_sets import image_sets
from core.models.linear import linear
from core.models.mlp import Activation, mlp, mlp_representation
from core.spec.images import feature_size, representation_size
from core.spec.models import Mlp
from core.spec.problems import HyperCleaning
from core.spec.sizes import inner_variables

MODULES: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_an_affine_map_that_starts_at_zero(bias: bool) -> None:
    model = linear(4, 3, bias=bias, dtype=torch.float64)
    params = model.init(stream(0))
    assert sum(leaf.numel() for leaf in tree_leaves(params)) == (4 + bias) * 3
    assert not any(leaf.any() for leaf in tree_leaves(params))
    weight, offset, x = draw(4, 3), draw(3), draw(5, 4)
    given = {"weight": weight} | ({"bias": offset} if bias else {})
    torch.testing.assert_close(model.apply(given, x), x @ weight + (offset if bias else 0))


def test_linear_takes_one_set_of_parameters_for_each_task() -> None:
    model = linear(4, 3)
    params = {"weight": draw(6, 4, 3), "bias": draw(6, 3)}
    x = draw(6, 5, 4)
    loop = [model.apply({"weight": params["weight"][task], "bias": params["bias"][task]}, x[task]) for task in range(6)]
    torch.testing.assert_close(model.apply(params, x), torch.stack(loop))


@pytest.mark.parametrize("activation", MODULES)
def test_mlp_agrees_with_torch_modules(activation: Activation) -> None:
    model = mlp(4, (7, 5), 3, activation=activation, dtype=torch.float64)
    params = model.init(stream(0))
    layers: list[nn.Module] = []
    for layer in params:  # type: ignore[union-attr]
        affine = nn.Linear(*layer["weight"].shape, dtype=torch.float64)  # type: ignore[call-overload, index, union-attr]
        affine.load_state_dict({"weight": layer["weight"].T, "bias": layer["bias"]})  # type: ignore[call-overload, index, union-attr]
        layers += [affine, MODULES[activation]()]
    x = draw(6, 4)
    torch.testing.assert_close(model.apply(params, x), nn.Sequential(*layers[:-1])(x))


def test_mlp_has_the_size_that_specs_are_checked_against() -> None:
    problem = HyperCleaning(model=Mlp(hidden=(30, 20)))
    params = mlp(64, (30, 20), 10).init(stream(0))
    assert sum(leaf.numel() for leaf in tree_leaves(params)) == inner_variables(problem)


def test_mlp_starts_with_glorot_weights_and_no_bias() -> None:
    first, _ = mlp(300, (200,), 10).init(stream(0))  # type: ignore[misc]
    bound = math.sqrt(6 / 500)
    assert bound * 0.999 < first["weight"].abs().max() <= bound  # type: ignore[call-overload, index, union-attr]
    assert not first["bias"].any()  # type: ignore[call-overload, index, union-attr]


def test_a_representation_ends_with_the_last_hidden_layer_and_has_no_statistics() -> None:
    spec = Mlp(hidden=(9, 6), activation="relu")
    model = mlp_representation(28 * 28, spec.hidden, activation=spec.activation, dtype=torch.float64)
    params = model.init(stream(0))
    x = draw(6, 1, 28, 28)
    sets = image_sets((2, 3), device=x.device, dtype=x.dtype)
    features = model.apply(params, x, sets)
    assert features.shape == (6, feature_size(spec))
    assert features.min() == 0
    assert sum(leaf.numel() for leaf in tree_leaves(params)) == representation_size(spec)
    assert torch.equal(model.apply_with(params, x, model.statistics(params, x)), features)
    torch.testing.assert_close(model.apply(params, x[:1], sets), features[:1])
