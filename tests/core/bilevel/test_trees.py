"""Trees are a vector space, and have names."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import State

tensors = st.integers(0, 2**31).map(
    lambda seed: torch.randn(2, seed % 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
)
forests = st.recursive(
    tensors,
    lambda children: st.one_of(
        st.dictionaries(st.text("abc", min_size=1, max_size=2), children, max_size=3),
        st.lists(children, max_size=3),
        st.tuples(children, children),
        st.builds(State, children, children),
    ),
    max_leaves=6,
)


def example() -> Any:
    x = torch.arange(6.0, dtype=torch.float64)
    return State({"weight": x[:4].view(2, 2), "bias": x[4]}, (x[5:],))


@given(tree=forests)
def test_names_there_and_back(tree: Any) -> None:
    named = trees.named_leaves(tree)
    assert len(named) == len(trees.leaves(tree))
    again = trees.from_named_leaves(tree, dict(reversed(named.items())))
    assert trees.flatten(again)[1] == trees.flatten(tree)[1]
    assert all(a is b for a, b in zip(trees.leaves(again), trees.leaves(tree), strict=True))


def test_names_are_paths() -> None:
    assert list(trees.named_leaves(example())) == ["w/weight", "w/bias", "aux/0"]
    assert list(trees.named_leaves(torch.ones(1))) == [""]
    assert trees.named_leaves(()) == {}


def test_leaves_that_do_not_fit_are_refused() -> None:
    tree = {"a": torch.ones(2), "b": torch.ones(3)}
    with pytest.raises(ValueError, match=r"missing \['b'\], unknown \['c'\]"):
        trees.from_named_leaves(tree, {"a": torch.ones(2), "c": torch.ones(3)})
    with pytest.raises(ValueError, match=r"'b' has shape \(2,\), not \(3,\)"):
        trees.from_named_leaves(tree, {"a": torch.ones(2), "b": torch.ones(2)})
    with pytest.raises(ValueError, match="two leaves of the tree are named 'a/b'"):
        trees.named_leaves({"a": {"b": torch.ones(1)}, "a/b": torch.ones(1)})


def test_arithmetic_is_that_of_the_ravelled_vectors() -> None:
    x, y = example(), trees.scale(-2.0, example())
    (u, unravel), (v, _) = trees.ravel(x), trees.ravel(y)

    def flat(tree: Any) -> Tensor:
        return trees.ravel(tree)[0]

    a = torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(flat(trees.add(x, y)), u + v)
    assert torch.equal(flat(trees.subtract(x, y)), u - v)
    assert torch.equal(flat(trees.axpy(0.5, x, y)), 0.5 * u + v)
    assert torch.equal(flat(trees.axpy(a, x, y)), 0.5 * u + v)
    assert torch.equal(flat(trees.zeros_like(x)), 0 * u)
    assert torch.isclose(trees.dot(x, y), u @ v)
    assert torch.isclose(trees.norm(x), torch.linalg.vector_norm(u))
    assert trees.flatten(unravel(u))[1] == trees.flatten(x)[1]
    assert torch.equal(flat(unravel(u)), u)


def test_dictionaries_with_the_same_keys_in_another_order_correspond() -> None:
    x, y = {"a": torch.ones(1), "b": torch.zeros(2)}, {"b": torch.ones(2), "a": torch.ones(1)}
    assert torch.equal(trees.add(x, y)["a"], torch.full((1,), 2.0))
    assert trees.dot(x, y) == 1


def test_basis_is_the_identity() -> None:
    directions = trees.basis(example())
    assert directions.w["weight"].shape == (6, 2, 2)
    assert directions.w["bias"].shape == (6,)
    rows = [trees.ravel(trees.map_leaves(lambda leaf, i=i: leaf[i], directions))[0] for i in range(6)]
    assert torch.equal(torch.stack(rows), torch.eye(6, dtype=torch.float64))


def test_ravelled_leaves_get_their_formats_back_and_a_basis_has_empty_leaves() -> None:
    mixed = {"a": torch.ones(2, dtype=torch.float32), "b": torch.ones(1, dtype=torch.float64), "c": torch.ones(0)}
    vector, unravel = trees.ravel(mixed)
    assert vector.dtype == torch.float64
    assert [leaf.dtype for leaf in trees.leaves(unravel(vector))] == [leaf.dtype for leaf in trees.leaves(mixed)]
    assert [leaf.shape for leaf in trees.leaves(trees.basis(mixed))] == [(3, 2), (3, 1), (3, 0)]


def test_detach_leaves_no_graph() -> None:
    x = torch.ones(2, requires_grad=True)
    assert not trees.detach({"a": x * 2})["a"].requires_grad


def test_trees_of_other_structures_do_not_fit() -> None:
    one, two = torch.ones(1), torch.ones(2)
    with pytest.raises(ValueError, match=r"\['a'\] and \['b'\]"):
        trees.add({"a": one}, {"b": one})
    with pytest.raises(ValueError, match="list and tuple"):
        trees.add({"a": [one]}, {"a": (one,)})
    with pytest.raises(ValueError, match="shorter"):
        trees.add([one, two], [one])
    for tree, other in ((one, {"a": one}), ([one], [(one,)]), ({"a": one}, {"a": [one]})):
        with pytest.raises(ValueError, match="a leaf and "):
            trees.map_leaves(lambda x, y: x, tree, other)
    assert trees.add({"a": one, "b": two}, {"b": two, "a": one})["b"].shape == (2,)
