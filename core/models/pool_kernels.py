"""The kernels of `core.models.pool_triton`, in Triton's language.

A program takes some rows of 2x2 windows of an image: pixels that lie one behind the other, so that what it leaves in
`partial` is a chunk of `core.models.norm_kernels`. Of an odd height or width the last windows are cut off: their pixels
count for the moments and are in no maximum.

x and x_bar [N, height, width, channels]; y and y_bar [N, height // 2, width // 2, channels]; member [N, S]; number [N],
of the set that an image is in, -1 for none; partial [N chunks, 2, channels]; constant, curvature and mean
[S, channels]. Those in capitals are known when a kernel is compiled.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# Kernels are in a language of their own, whose arguments have the types they are called with.

import triton
import triton.language as tl

from core.models.norm_kernels import set_of

SIZES = ("height", "width", "rows", "chunks", "tiles", "sets")
"""For whose values, 1 or multiples of 16, nothing is compiled again: channels alone decide how memory is read."""


@triton.jit
def _place(chunks, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of this program: the row of `partial`, image, chunk of its windows, channels, and which of these there are."""
    blocks: tl.constexpr = (CHANNELS + COLUMNS - 1) // COLUMNS
    row = tl.program_id(0) // blocks
    channel = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    return row, row // chunks, row % chunks, channel, channel < CHANNELS


@triton.jit
def _windows(chunk, tile, rows, width, WINDOWS: tl.constexpr):
    """Row and column of the windows of a tile [WINDOWS], and which of these the chunk has."""
    wide = (width + 1) // 2
    window = tile * WINDOWS + tl.arange(0, WINDOWS)
    return chunk * rows + window // wide, window % wide, window < rows * wide


@triton.jit
def _corner(row, column, here, height, width, channel, exists, CHANNELS: tl.constexpr):
    """Where these pixels lie in their image [WINDOWS, COLUMNS], and which of them there are."""
    at = (row * width + column)[:, None] * CHANNELS + channel[None, :]
    return at, (here & (row < height) & (column < width))[:, None] & exists[None, :]


@triton.jit
def _pooled(i, j, here, height, width, channel, exists, CHANNELS: tl.constexpr):
    """Where the windows lie in what is pooled [WINDOWS, COLUMNS], and which are whole."""
    whole = here & (i < height // 2) & (j < width // 2)
    return (i * (width // 2) + j)[:, None] * CHANNELS + channel[None, :], whole[:, None] & exists[None, :]


@triton.jit
def _four(x, i, j, here, height, width, channel, exists, CHANNELS: tl.constexpr):
    """The pixels of the windows, each [WINDOWS, COLUMNS], 0 where there is none, and which there are."""
    at, a_in = _corner(2 * i, 2 * j, here, height, width, channel, exists, CHANNELS)
    a = tl.load(x + at, mask=a_in, other=0).to(tl.float32)
    at, b_in = _corner(2 * i, 2 * j + 1, here, height, width, channel, exists, CHANNELS)
    b = tl.load(x + at, mask=b_in, other=0).to(tl.float32)
    at, c_in = _corner(2 * i + 1, 2 * j, here, height, width, channel, exists, CHANNELS)
    c = tl.load(x + at, mask=c_in, other=0).to(tl.float32)
    at, d_in = _corner(2 * i + 1, 2 * j + 1, here, height, width, channel, exists, CHANNELS)
    d = tl.load(x + at, mask=d_in, other=0).to(tl.float32)
    return a, b, c, d, a_in, b_in, c_in, d_in


@triton.jit
def _away(values, inside, shift):
    """values - shift where there are values, else 0."""
    return tl.where(inside, values - shift[None, :], 0)


@triton.jit(do_not_specialize=SIZES)
def pooled_moments(
    x, member, y, number, partial, height, width, rows, chunks, tiles, sets,
    CHANNELS: tl.constexpr, WINDOWS: tl.constexpr, COLUMNS: tl.constexpr, SETS: tl.constexpr,
):  # fmt: skip
    """The largest of each window; and mean, and sum of squares around it, of all pixels of a chunk.

    Sums are of differences from the mean of the first tile, as in `norm_kernels.image_moments`.
    """
    row, image, chunk, channel, exists = _place(chunks, CHANNELS, COLUMNS)
    tl.store(number + image, set_of(member, image, sets, SETS))  # every program of an image writes the same
    x += image.to(tl.int64) * height * width * CHANNELS
    y += image.to(tl.int64) * (height // 2) * (width // 2) * CHANNELS
    shift = tl.zeros([COLUMNS], tl.float32)
    total = tl.zeros([WINDOWS, COLUMNS], tl.float32)
    squares = tl.zeros([WINDOWS, COLUMNS], tl.float32)
    for tile in range(tiles):
        i, j, here = _windows(chunk, tile, rows, width, WINDOWS)
        a, b, c, d, a_in, b_in, c_in, d_in = _four(x, i, j, here, height, width, channel, exists, CHANNELS)
        at, whole = _pooled(i, j, here, height, width, channel, exists, CHANNELS)
        tl.store(y + at, tl.maximum(tl.maximum(a, b), tl.maximum(c, d)).to(y.dtype.element_ty), mask=whole)
        if tile == 0:
            count = a_in.to(tl.float32) + b_in.to(tl.float32) + c_in.to(tl.float32) + d_in.to(tl.float32)
            shift = tl.sum(a + b + c + d, 0) / tl.maximum(tl.sum(count, 0), 1)
        a, b = _away(a, a_in, shift), _away(b, b_in, shift)
        c, d = _away(c, c_in, shift), _away(d, d_in, shift)
        total += a + b + c + d
        squares += a * a + b * b + c * c + d * d
    moved = tl.sum(total, 0)
    count = tl.minimum(height - chunk * 2 * rows, 2 * rows) * width
    mean = moved / count
    partial += row * 2 * CHANNELS + channel
    tl.store(partial, shift + mean, mask=exists)
    tl.store(partial + CHANNELS, tl.sum(squares, 0) - moved * mean, mask=exists)


@triton.jit
def _write(x_bar, row, column, here, height, width, channel, exists, values, CHANNELS: tl.constexpr):
    at, inside = _corner(row, column, here, height, width, channel, exists, CHANNELS)
    tl.store(x_bar + at, values.to(x_bar.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def pooled_adjoint(
    x, y_bar, member, constant, curvature, mean, x_bar, height, width, rows, chunks, tiles, sets,
    CHANNELS: tl.constexpr, WINDOWS: tl.constexpr, COLUMNS: tl.constexpr, SETS: tl.constexpr,
):  # fmt: skip
    """x_bar = constant + curvature (x - mean), and y_bar beside where x is the first of the largest of its window."""
    _, image, chunk, channel, exists = _place(chunks, CHANNELS, COLUMNS)
    this = set_of(member, image, sets, SETS)
    known, place = exists & (this >= 0), this * CHANNELS + channel
    centre = tl.load(mean + place, mask=known, other=0)[None, :]
    steep = tl.load(curvature + place, mask=known, other=0)[None, :]
    level = tl.load(constant + place, mask=known, other=0)[None, :]
    base = image.to(tl.int64) * height * width * CHANNELS
    x, x_bar = x + base, x_bar + base
    y_bar += image.to(tl.int64) * (height // 2) * (width // 2) * CHANNELS
    for tile in range(tiles):
        i, j, here = _windows(chunk, tile, rows, width, WINDOWS)
        a, b, c, d, _a, _b, _c, _d = _four(x, i, j, here, height, width, channel, exists, CHANNELS)
        at, whole = _pooled(i, j, here, height, width, channel, exists, CHANNELS)
        bar = tl.load(y_bar + at, mask=whole, other=0).to(tl.float32)
        upper, lower = tl.maximum(a, b), tl.maximum(c, d)
        above, left, lower_left = upper >= lower, a >= b, c >= d
        a_bar = level + steep * (a - centre) + tl.where(above & left, bar, 0)
        _write(x_bar, 2 * i, 2 * j, here, height, width, channel, exists, a_bar, CHANNELS)
        b_bar = level + steep * (b - centre) + tl.where(above & (left == 0), bar, 0)
        _write(x_bar, 2 * i, 2 * j + 1, here, height, width, channel, exists, b_bar, CHANNELS)
        c_bar = level + steep * (c - centre) + tl.where((above == 0) & lower_left, bar, 0)
        _write(x_bar, 2 * i + 1, 2 * j, here, height, width, channel, exists, c_bar, CHANNELS)
        d_bar = level + steep * (d - centre) + tl.where((above == 0) & (lower_left == 0), bar, 0)
        _write(x_bar, 2 * i + 1, 2 * j + 1, here, height, width, channel, exists, d_bar, CHANNELS)
