"""Iterates that are kept for the way back: a stack of states, many in one piece of memory.

One by one they would be cut out of what steps leave behind, and what is left of it is too small for the next step:
the states of an Adam on a small network then take twice their numbers or more.
"""

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import State

PIECE_BYTES = 4 * 2**20
"""What is taken at a time, at most; a larger state has a piece of its own."""


class Iterates:
    """States of the same shapes, last in, first out."""

    def __init__(self) -> None:
        self._pieces: list[list[Tensor]] = []
        """The leaves of so many states each: [rows, ...]."""
        self._rows = 0
        self._count = 0
        self._structure: trees.Structure = None

    def __len__(self) -> int:
        return self._count

    def push(self, state: State) -> None:
        """Keeps a copy."""
        leaves, self._structure = trees.flatten(state)
        if not self._rows:
            self._rows = max(PIECE_BYTES // max(sum(leaf.nbytes for leaf in leaves), 1), 1)
        row = self._count % self._rows
        if row == 0:
            self._pieces.append([leaf.new_empty((self._rows, *leaf.shape)) for leaf in leaves])
        torch._foreach_copy_([piece[row] for piece in self._pieces[-1]], leaves)
        self._count += 1

    def last(self) -> State:
        """The last one, valid until another is pushed in its place."""
        row = (self._count - 1) % self._rows
        found = trees.unflatten([piece[row] for piece in self._pieces[-1]], self._structure)
        assert isinstance(found, State)
        return found

    def pop(self) -> None:
        """Forgets the last one."""
        self._count -= 1
        if self._count % self._rows == 0:
            self._pieces.pop()
