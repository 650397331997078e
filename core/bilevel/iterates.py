"""Iterates that are kept for the way back: a stack of states, many in one piece of memory.

One by one they would be cut out of what steps leave behind, and what is left of it is too small for the next step:
the states of an Adam on a small network then take twice their numbers or more.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import State

PIECE_BYTES = 4 * 2**20
"""What is taken at a time, at most; a larger state has a piece of its own."""


@dataclass
class _Piece:
    """Memory for so many states of one kind."""

    kind: Any
    structure: trees.Structure
    leaves: list[Tensor]
    """[rows, ...] each."""
    rows: int
    used: int = 0


class Iterates:
    """States, last in, first out."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []

    def __len__(self) -> int:
        return sum(piece.used for piece in self._pieces)

    def push(self, state: State) -> None:
        """Keeps a copy."""
        leaves, structure = trees.flatten(state)
        kind = (repr(structure), [(leaf.shape, leaf.dtype) for leaf in leaves])  # in repr, the order of keys counts
        last = self._pieces[-1] if self._pieces else None
        if last is None or last.kind != kind or last.used == last.rows:
            rows = max(PIECE_BYTES // max(sum(leaf.nbytes for leaf in leaves), 1), 1)
            last = _Piece(kind, structure, [leaf.new_empty((rows, *leaf.shape)) for leaf in leaves], rows)
            self._pieces.append(last)
        torch._foreach_copy_([piece[last.used] for piece in last.leaves], leaves)
        last.used += 1

    def last(self) -> State:
        """The last one, valid until another is pushed in its place."""
        last = self._pieces[-1]
        found = trees.unflatten([piece[last.used - 1] for piece in last.leaves], last.structure)
        assert isinstance(found, State)
        return found

    def pop(self) -> None:
        """Forgets the last one."""
        self._pieces[-1].used -= 1
        if not self._pieces[-1].used:
            self._pieces.pop()
