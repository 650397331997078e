"""Arithmetic on trees of tensors: the vector space in which outer variables, inner variables and states live.

A step of a small inner problem takes trees apart a dozen times; torch.utils._pytree, for any kind of node, takes two to
three times as long to do it as what is here for dicts, lists and tuples.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from core.bilevel.problem import Tree

Structure = Any
"""What `flatten` takes away from the leaves and `unflatten` needs back: the tree with LEAF for each of them."""
LEAF = None


def flatten(tree: Tree) -> tuple[list[Tensor], Structure]:
    """The leaves in order, and the structure."""
    found: list[Tensor] = []

    def take(leaf: Tensor) -> Any:
        found.append(leaf)
        return LEAF

    return found, map_leaves(take, tree)


def unflatten(leaves: list[Tensor], structure: Structure) -> Tree:
    """The inverse of `flatten`."""
    left = iter(leaves)
    tree: Tree = map_leaves(lambda _: next(left), structure)
    return tree


def leaves(tree: Tree) -> list[Tensor]:
    """The leaves in order."""
    found: list[Tensor] = []
    _collect(tree, found)
    return found


def _collect(tree: Tree, found: list[Tensor]) -> None:
    if isinstance(tree, dict):
        for part in tree.values():
            _collect(part, found)
    elif isinstance(tree, list | tuple):
        for part in tree:
            _collect(part, found)
    else:
        found.append(tree)


def leaves_as(structure: Structure, tree: Tree) -> list[Tensor]:
    """The leaves of a tree in the order of a structure, whose dicts may have their keys in another one.

    Raises:
        ValueError: the tree has another structure.
    """
    found: list[Tensor] = []
    _mapped_together(lambda _, leaf: found.append(leaf), (structure, tree))
    return found


def map_leaves(function: Callable[..., Any], tree: Tree, *others: Tree) -> Any:
    """Applies the function to corresponding leaves; the result has the structure of the first tree.

    Raises:
        ValueError: another tree has not the structure of the first.
    """
    if isinstance(tree, Tensor):
        _refuse_trees(others)
        return function(tree, *others)
    if not others:
        return _mapped(function, tree)
    return _mapped_together(function, (tree, *others))


def _mapped(function: Callable[..., Any], tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, list):
        return [_mapped(function, part) for part in tree]
    if isinstance(tree, tuple):
        parts = (_mapped(function, part) for part in tree)
        return tuple(parts) if type(tree) is tuple else type(tree)(*parts)
    return function(tree)


def _mapped_together(function: Callable[..., Any], trees: tuple[Any, ...]) -> Any:
    first = trees[0]
    if not isinstance(first, dict | list | tuple):
        _refuse_trees(trees)
        return function(*trees)
    kind = dict if isinstance(first, dict) else type(first)
    if not all(isinstance(other, kind) for other in trees):
        raise ValueError(f"trees do not fit: {' and '.join(type(other).__name__ for other in trees)}")
    if isinstance(first, dict):
        if any(other.keys() != first.keys() for other in trees):
            raise ValueError(f"trees do not fit: {' and '.join(str(sorted(other)) for other in trees)}")
        return {key: _mapped_together(function, tuple([other[key] for other in trees])) for key in first}
    parts = [_mapped_together(function, corresponding) for corresponding in zip(*trees, strict=True)]
    if isinstance(first, list):
        return parts
    return tuple(parts) if type(first) is tuple else type(first)(*parts)


def _refuse_trees(leaves: tuple[Any, ...]) -> None:
    for leaf in leaves:
        if isinstance(leaf, dict | list | tuple):
            raise ValueError(f"trees do not fit: a leaf and {type(leaf).__name__}")


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
        return map_leaves(lambda u, v: torch.addcmul(v, u, a), x, y)
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


def ravel(x: Tree) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """All entries as one vector [size], and the function that takes a vector back to a tree like x."""
    parts, structure = flatten(x)
    sizes = [leaf.numel() for leaf in parts]

    def unravel(vector: Tensor) -> Any:
        pieces = torch.split(vector, sizes)
        shaped = [piece.view(leaf.shape).to(leaf.dtype) for piece, leaf in zip(pieces, parts, strict=True)]
        return unflatten(shaped, structure)

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
        [column.reshape(len(rows), *leaf.shape).to(leaf.dtype) for column, leaf in zip(columns, parts, strict=True)],
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
