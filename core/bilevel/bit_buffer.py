"""What rounding throws away, kept: multiplication of integers by a fraction that can be undone to the bit.

v -> q = floor((v n + offset) / d) with n <= d maps d/n integers to one on average. Which of those that have the same q
was v, a number below ceil(d/n), goes to a stack of bits: a fifth of a bit a time for n/d = 0.9, never more than one
for n/d >= 1/2. After Maclaurin, Duvenaud and Adams (2015). They divide by d, which keeps the remainder, then multiply
by n, and put a digit from the stack where the remainder was: that needs log2(d/n) bits only, 0.15 in the example, but
leaves the last log2(d) bits of the product to chance. Here the product is off by one unit at most, so d can be large.
"""

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 2**31 - 1
"""Of numerators and denominators, so that products of two of them have no overflow."""
WORD = 32
EMPTY = 2 ** (WORD - 1)
CHANGED = (
    "the way back missed the start: the inner gradient is not the same to the bit when it is computed again; make it "
    "deterministic, or use `reverse` with snapshots"
)


class BitBuffer:
    """A stack of bits for each of `size` entries: the newest 31 bits at least in an int64, the rest in one common list.

    An int64 holds a leading one and up to 62 bits below it. Where a push has no room, 32 of them go to the list; a pop
    that leaves less than 31 takes them back. So the bits themselves say what went when, and the list has no gaps.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self._newest = torch.full((size,), EMPTY, dtype=torch.int64, device=device)
        self._words = bytearray()  # int32s, in main memory

    def push(self, values: Tensor, widths: Tensor) -> None:
        """Pushes the low `widths` (at most 31) bits of the values; both int64 [size]."""
        full = (self._newest >> (63 - widths)) > 0
        if full.any():
            words = (self._newest[full] & (2**WORD - 1)).to(torch.int32)
            self._words += words.cpu().numpy().tobytes()
            self._newest = torch.where(full, self._newest >> WORD, self._newest)
        self._newest = (self._newest << widths) | values

    def pop(self, widths: Tensor) -> Tensor:
        """The inverse of `push` with the same widths.

        Raises:
            RuntimeError: more bits are popped than were pushed.
        """
        values = self._newest & ((1 << widths) - 1)
        self._newest = self._newest >> widths
        wanting = self._newest < EMPTY
        if (count := int(wanting.sum())) > 0:
            if len(self._words) < 4 * count:
                raise RuntimeError(CHANGED)
            words = torch.frombuffer(self._words[-4 * count :], dtype=torch.int32).to(self._newest.device)
            del self._words[-4 * count :]
            self._newest[wanting] = (self._newest[wanting] << WORD) | (words.long() & (2**WORD - 1))
        return values

    def bits(self) -> int:
        """How many it holds."""
        _, lengths = torch.frexp(self._newest.double())
        return 8 * len(self._words) + int((lengths - WORD).sum())


class Ratio(NamedTuple):
    """n / d."""

    n: int
    d: int


@lru_cache(maxsize=4096)
def ratio(value: float) -> Ratio:
    """The fraction with numbers below 2^31 that is closest: off by 2^-31 / d at most.

    Raises:
        ValueError: the value is not in (0, 1], or so small that the fraction is 0.
    """
    close = Fraction(value).limit_denominator(LARGEST) if 0 < value <= 1 else Fraction(0)
    if close == 0:
        raise ValueError(f"the momentum is {value}: to be undone it has to be above 2^-31 and at most 1")
    return Ratio(close.numerator, close.denominator)


def multiply(v: Tensor, by: Ratio, offset: int, buffer: BitBuffer) -> Tensor:
    """floor((v n + offset) / d), int64 like v; the choice among its originals goes to the buffer.

    An offset in 0..d-1 that differs from one multiplication to the next rounds up as often as v n / d needs it. With
    the same one always, small numbers would stay where they are for ever, some of them at the price of a bit each time.
    """
    n, d = by
    whole = v.div(d, rounding_mode="floor")
    rest = v - whole * d
    part = (rest * n + offset).div(d, rounding_mode="floor")  # 0..n
    first, widths = _originals(part, by, offset)
    buffer.push(rest - first, widths)
    return whole * n + part


def divide(q: Tensor, by: Ratio, offset: int, buffer: BitBuffer) -> Tensor:
    """The v that `multiply` made q from."""
    n, d = by
    whole = q.div(n, rounding_mode="floor")
    first, widths = _originals(q - whole * n, by, offset)
    return whole * d + first + buffer.pop(widths)


def _originals(part: Tensor, by: Ratio, offset: int) -> tuple[Tensor, Tensor]:
    """The smallest v with floor((v n + offset) / d) = part, and the bits that it takes to say which; part in 0..n.

    v n >= part d - offset holds from v = ceil((part d - offset) / n) on; there are floor(d / n) or one more.
    """
    n, d = by
    scaled = part * d + (n - 1 - offset)
    first = scaled.div(n, rounding_mode="floor")
    count = (scaled + d).div(n, rounding_mode="floor") - first
    few = d // n
    widths = torch.where(count == few, _width(few), _width(few + 1))
    return first, widths


def _width(count: int) -> int:
    """Bits for a number below `count`."""
    return (count - 1).bit_length()
