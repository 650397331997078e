"""Arithmetic on trees of tensors: the vector space in which outer variables, inner variables and states live."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from core.bilevel.problem import Tree

Structure = pytree.TreeSpec
"""What `flatten` takes away from the leaves and `unflatten` needs back."""


def flatten(tree: Tree) -> tuple[list[Tensor], Structure]:
    """The leaves in order, and the structure."""
    leaves, structure = pytree.tree_flatten(tree)
    return leaves, structure


def unflatten(leaves: list[Tensor], structure: Structure) -> Tree:
    """The inverse of `flatten`."""
    tree: Tree = pytree.tree_unflatten(leaves, structure)
    return tree


def leaves(tree: Tree) -> list[Tensor]:
    """The leaves in order."""
    return flatten(tree)[0]


def map_leaves(function: Callable[..., Tensor], tree: Tree, *others: Tree) -> Any:
    """Applies the function to corresponding leaves; the result has the structure of the first tree."""
    return pytree.tree_map(function, tree, *others)


def add(x: Tree, y: Tree) -> Any:
    """x + y."""
    return map_leaves(torch.add, x, y)


def subtract(x: Tree, y: Tree) -> Any:
    """x - y."""
    return map_leaves(torch.sub, x, y)


def scale(a: float | Tensor, x: Tree) -> Any:
    """a x."""
    return map_leaves(lambda leaf: a * leaf, x)


def axpy(a: float | Tensor, x: Tree, y: Tree) -> Any:
    """a x + y."""
    if isinstance(a, Tensor):
        return map_leaves(lambda u, v: v + a * u, x, y)
    return map_leaves(lambda u, v: torch.add(v, u, alpha=a), x, y)


def dot(x: Tree, y: Tree) -> Tensor:
    """<x, y>, a scalar; the tree must not be empty."""
    products: list[Tensor] = leaves(map_leaves(lambda u, v: (u * v).sum(), x, y))
    return torch.stack(products).sum()


def norm(x: Tree) -> Tensor:
    """Euclidean norm, a scalar; the tree must not be empty."""
    total: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(leaves(x))))
    return total


def zeros_like(x: Tree) -> Any:
    """Zeros of the same shapes."""
    return map_leaves(torch.zeros_like, x)


def detach(x: Tree) -> Any:
    """The same values without a graph."""
    return map_leaves(torch.detach, x)


def all_finite(x: Tree) -> bool:
    """Whether no entry is NaN or infinite."""
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves(x))


def ravel(x: Tree) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """All entries as one vector [size], and the function that takes a vector back to a tree like x."""
    parts, structure = flatten(x)
    sizes = [leaf.numel() for leaf in parts]

    def unravel(vector: Tensor) -> Any:
        pieces = torch.split(vector, sizes)
        return unflatten([piece.view(leaf.shape) for piece, leaf in zip(pieces, parts, strict=True)], structure)

    return torch.cat([leaf.reshape(-1) for leaf in parts]), unravel


def size(x: Tree) -> int:
    """Number of entries."""
    return sum(leaf.numel() for leaf in leaves(x))


def basis(x: Tree, first: int = 0, count: int | None = None) -> Any:
    """The canonical basis: a tree like x with a leading axis of size `size(x)` that counts the directions.

    With `first` and `count` only the directions first .. first + count - 1, of which no others are made.
    """
    parts, structure = flatten(x)
    sizes = [leaf.numel() for leaf in parts]
    rows = parts[0].new_zeros(sum(sizes) - first if count is None else count, sum(sizes))
    rows.diagonal(first).fill_(1)
    columns = torch.split(rows, sizes, dim=1)
    return unflatten(
        [column.reshape(-1, *leaf.shape).to(leaf.dtype) for column, leaf in zip(columns, parts, strict=True)],
        structure,
    )


def named_leaves(tree: Tree) -> dict[str, Tensor]:
    """The leaves by their paths, such as "layer/weight/0", for checkpoints and series.

    A tree that is one tensor has the name "". Raises ValueError where two leaves would have the same name.
    """
    found: dict[str, Tensor] = {}
    for path, leaf in pytree.tree_flatten_with_path(tree)[0]:
        name = "/".join(_part(key) for key in path)
        if name in found:
            raise ValueError(f"two leaves of the tree are named {name!r}: rename a key that has a slash in it")
        found[name] = leaf
    return found


def from_named_leaves(like: Tree, named: Mapping[str, Tensor]) -> Any:
    """The inverse of `named_leaves`: a tree with the structure of `like`.

    Raises ValueError where names or shapes are not those of `like`.
    """
    expected = named_leaves(like)
    if expected.keys() != named.keys():
        missing, unknown = expected.keys() - named.keys(), named.keys() - expected.keys()
        raise ValueError(f"leaves do not fit the tree: missing {sorted(missing)}, unknown {sorted(unknown)}")
    for name, leaf in expected.items():
        if leaf.shape != named[name].shape:
            raise ValueError(f"leaf {name!r} has shape {tuple(named[name].shape)}, not {tuple(leaf.shape)}")
    return unflatten([named[name] for name in expected], flatten(like)[1])


def _part(key: Any) -> str:
    match key:
        case pytree.MappingKey():
            return str(key.key)
        case pytree.SequenceKey():
            return str(key.idx)
        case pytree.GetAttrKey():
            return str(key.name)
        case _:
            raise TypeError(f"a tree holds tensors in dicts, lists and (named) tuples, not under {key!r}")
