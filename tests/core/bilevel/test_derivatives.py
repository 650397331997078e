from typing import Any

import torch

from core.bilevel import trees
from core.bilevel.derivatives import vjp, vjp_on_tape


def test_the_tape_gives_the_same_derivatives() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y, unused = (torch.randn(3, dtype=torch.float64, generator=generator) for _ in range(3))
    lam = {"x": x, "y": y, "unused": unused}

    def function(lam: Any) -> Any:
        return {"product": lam["x"] * lam["y"].exp(), "passed on": lam["y"], "constant": torch.ones(2)}

    value, pull = vjp_on_tape(function, lam)
    expected, pull_functional = vjp(function, lam)
    cotangent = trees.map_leaves(torch.ones_like, expected)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(pull(cotangent), pull_functional(cotangent)[0])
    assert not any(leaf.requires_grad for leaf in trees.leaves((value, lam)))
