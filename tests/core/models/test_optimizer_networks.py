import math

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.models.optimizer_networks import log_and_sign, lstm_optimizer, mlp_optimizer
from core.spec.learned_problems import LstmOptimizer, MlpOptimizer
from core.spec.sizes import optimizer_size

DOUBLE = torch.float64


def test_gradients_are_seen_as_in_appendix_a() -> None:
    p = 10.0
    x = torch.tensor([2.0, -1.0, 1e-3, -math.exp(-10), 1e-6, 0.0], dtype=DOUBLE)
    large = x.abs() >= math.exp(-p)
    expected = torch.stack(
        [
            torch.where(large, x.abs().log() / p, torch.tensor(-1.0, dtype=DOUBLE)),
            torch.where(large, x.sign(), math.exp(p) * x),
        ],
        dim=-1,
    )
    torch.testing.assert_close(log_and_sign(x.unsqueeze(-1), p), expected)


def test_the_lstm_is_that_of_torch() -> None:
    network = lstm_optimizer(5, 2, scale=0.3, log_range=7, dtype=DOUBLE)
    own = network.init(torch.Generator().manual_seed(1))
    gradients = torch.randn(4, 2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    layers = [torch.nn.LSTMCell(inputs, 5, dtype=DOUBLE) for inputs in (2, 5)]
    for layer, cell in zip(layers, own["cells"], strict=True):  # type: ignore[call-overload,index,arg-type]
        order = torch.cat([torch.arange(5) + 5 * gate for gate in (0, 1, 3, 2)])  # torch has the candidate third
        layer.load_state_dict(
            {
                "weight_ih": cell["input"].T[order],
                "weight_hh": cell["hidden"].T[order],
                "bias_ih": cell["bias"][order],
                "bias_hh": torch.zeros(20, dtype=DOUBLE),
            }
        )
    memory, states = network.rest(gradients[0]), [(torch.zeros(6, 5, dtype=DOUBLE),) * 2 for _ in layers]
    for gradient in gradients:
        found, memory = network.update(own, gradient, memory)
        x = log_and_sign(gradient.reshape(6, 1), 7)
        for number, layer in enumerate(layers):
            states[number] = layer(x, states[number])
            x = states[number][0]
        output = own["output"]  # type: ignore[call-overload,index]
        torch.testing.assert_close(found, 0.3 * (x @ output["weight"] + output["bias"]).view(2, 3))  # type: ignore[call-overload,index]


def test_the_mlp_begins_as_gradient_descent_and_its_means_are_running_ones() -> None:
    network = mlp_optimizer([4], [0.5, 0.9], rate=0.2, scale=1.0, log_range=10, dtype=DOUBLE)
    own = network.init(torch.Generator().manual_seed(1))
    gradients = torch.randn(3, 2, 5, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    memory = network.rest(gradients[0])
    for gradient in gradients:
        step, memory = network.update(own, gradient, memory)
        torch.testing.assert_close(step, -0.2 * gradient)
    assert isinstance(memory, Tensor)
    weights = torch.tensor([0.5**2, 0.5, 1.0], dtype=DOUBLE) * 0.5
    torch.testing.assert_close(memory[..., 0], torch.einsum("t,tbn->bn", weights, gradients))


@pytest.mark.parametrize(
    "spec", [LstmOptimizer(), LstmOptimizer(hidden=3, layers=1), MlpOptimizer(), MlpOptimizer(decays=(), hidden=(2, 3))]
)
def test_sizes_are_those_that_the_spec_tells(spec: LstmOptimizer | MlpOptimizer) -> None:
    if isinstance(spec, LstmOptimizer):
        network = lstm_optimizer(spec.hidden, spec.layers, scale=1, log_range=1)
    else:
        network = mlp_optimizer(spec.hidden, spec.decays, rate=1, scale=1, log_range=1)
    assert trees.size(network.init(torch.Generator())) == optimizer_size(spec)


def test_every_coordinate_has_the_same_network() -> None:
    network = lstm_optimizer(4, 2, scale=1, log_range=10, dtype=DOUBLE)
    own = network.init(torch.Generator().manual_seed(1))
    gradients = torch.randn(2, 2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))

    def steps(gradients: Tensor) -> Tensor:
        memory = network.rest(gradients[0])
        for gradient in gradients:
            step, memory = network.update(own, gradient, memory)
        return step

    torch.testing.assert_close(steps(gradients.flip(-1)), steps(gradients).flip(-1))
    torch.testing.assert_close(steps(gradients[:, :1]), steps(gradients)[:1])
