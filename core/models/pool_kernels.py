"""The kernels of `core.models.pool_triton`, in Triton's language.

A program takes some rows of 2x2 windows of an image: pixels that lie one behind the other, so that what it leaves in
`partial` is a chunk of `core.models.norm_kernels`. Of an odd height or width the last windows are cut off: with the
moments, for which their pixels count, they are in no maximum.

x and x_bar [N, height, width, channels]; y and y_bar [N, height / 2, width / 2, channels], rounded down with the
moments and up without; member [N, S]; number [N], of the set that an image is in, -1 for none; partial
[N chunks, 2, channels]; constant, curvature and mean [S, channels]. Those in capitals are known when a kernel is
compiled.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# Kernels are in a language of their own, whose arguments have the types they are called with.

import triton
import triton.language as tl

from core.models.norm_kernels import place, set_of

SIZES = ("height", "width", "rows", "chunks", "tiles", "sets")
"""For whose values, 1 or multiples of 16, nothing is compiled again: channels alone decide how memory is read."""


@triton.jit
def _windows(chunk, tile, rows, width, WINDOWS: tl.constexpr):
    """Row and column of the windows of a tile [WINDOWS], and which of these the chunk has."""
    wide = (width + 1) // 2
    window = tile * WINDOWS + tl.arange(0, WINDOWS)
    return chunk * rows + window // wide, window % wide, window < rows * wide


@triton.jit
def _pixel(row, column, here, height, width, channel, exists, CHANNELS: tl.constexpr):
    """Where these pixels lie in their image [WINDOWS, COLUMNS], and which of them there are."""
    at = (row * width + column)[:, None] * CHANNELS + channel[None, :]
    return at, (here & (row < height) & (column < width))[:, None] & exists[None, :]


@triton.jit
def _place_of(i, j, here, high, wide, channel, exists, CHANNELS: tl.constexpr):
    """Where the windows lie in what is pooled [WINDOWS, COLUMNS], and which of them it has: high times wide."""
    at = (i * wide + j)[:, None] * CHANNELS + channel[None, :]
    return at, (here & (i < high) & (j < wide))[:, None] & exists[None, :]


@triton.jit
def _four(x, i, j, here, height, width, channel, exists, nothing, CHANNELS: tl.constexpr):
    """The pixels of the windows, each [WINDOWS, COLUMNS], `nothing` where there is none, and which there are."""
    at, a_in = _pixel(2 * i, 2 * j, here, height, width, channel, exists, CHANNELS)
    a = tl.load(x + at, mask=a_in, other=nothing).to(tl.float32)
    at, b_in = _pixel(2 * i, 2 * j + 1, here, height, width, channel, exists, CHANNELS)
    b = tl.load(x + at, mask=b_in, other=nothing).to(tl.float32)
    at, c_in = _pixel(2 * i + 1, 2 * j, here, height, width, channel, exists, CHANNELS)
    c = tl.load(x + at, mask=c_in, other=nothing).to(tl.float32)
    at, d_in = _pixel(2 * i + 1, 2 * j + 1, here, height, width, channel, exists, CHANNELS)
    d = tl.load(x + at, mask=d_in, other=nothing).to(tl.float32)
    return a, b, c, d, a_in, b_in, c_in, d_in


@triton.jit
def _write(x_bar, i, j, here, height, width, channel, exists, a, b, c, d, CHANNELS: tl.constexpr):
    """The pixels of the windows, those that there are."""
    at, inside = _pixel(2 * i, 2 * j, here, height, width, channel, exists, CHANNELS)
    tl.store(x_bar + at, a.to(x_bar.dtype.element_ty), mask=inside)
    at, inside = _pixel(2 * i, 2 * j + 1, here, height, width, channel, exists, CHANNELS)
    tl.store(x_bar + at, b.to(x_bar.dtype.element_ty), mask=inside)
    at, inside = _pixel(2 * i + 1, 2 * j, here, height, width, channel, exists, CHANNELS)
    tl.store(x_bar + at, c.to(x_bar.dtype.element_ty), mask=inside)
    at, inside = _pixel(2 * i + 1, 2 * j + 1, here, height, width, channel, exists, CHANNELS)
    tl.store(x_bar + at, d.to(x_bar.dtype.element_ty), mask=inside)


@triton.jit
def _largest(a, b, c, d):
    """NaN where one of them is."""
    upper = tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
    lower = tl.maximum(c, d, propagate_nan=tl.PropagateNan.ALL)
    return tl.maximum(upper, lower, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _shared(a, b, c, d, bar):
    """What each of the four gets of `bar`: all of it the first of the largest."""
    above = tl.maximum(a, b) >= tl.maximum(c, d)
    left, lower_left = a >= b, c >= d
    a_bar, b_bar = tl.where(above & left, bar, 0), tl.where(above & (left == 0), bar, 0)
    c_bar, d_bar = tl.where(above | (lower_left == 0), 0, bar), tl.where(above | lower_left, 0, bar)
    return a_bar, b_bar, c_bar, d_bar


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
    row, image, chunk, channel, exists = place(chunks, CHANNELS, COLUMNS)
    tl.store(number + image, set_of(member, image, sets, SETS))  # every program of an image writes the same
    x += image.to(tl.int64) * height * width * CHANNELS
    y += image.to(tl.int64) * (height // 2) * (width // 2) * CHANNELS
    shift = tl.zeros([COLUMNS], tl.float32)
    total = tl.zeros([WINDOWS, COLUMNS], tl.float32)
    squares = tl.zeros([WINDOWS, COLUMNS], tl.float32)
    for tile in range(tiles):
        i, j, here = _windows(chunk, tile, rows, width, WINDOWS)
        a, b, c, d, a_in, b_in, c_in, d_in = _four(x, i, j, here, height, width, channel, exists, 0.0, CHANNELS)
        at, whole = _place_of(i, j, here, height // 2, width // 2, channel, exists, CHANNELS)
        tl.store(y + at, _largest(a, b, c, d).to(y.dtype.element_ty), mask=whole)
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


@triton.jit(do_not_specialize=SIZES)
def pooled_adjoint(
    x, y_bar, member, constant, curvature, mean, x_bar, height, width, rows, chunks, tiles, sets,
    CHANNELS: tl.constexpr, WINDOWS: tl.constexpr, COLUMNS: tl.constexpr, SETS: tl.constexpr,
):  # fmt: skip
    """x_bar = constant + curvature (x - mean), and y_bar beside where x is the first of the largest of its window."""
    _, image, chunk, channel, exists = place(chunks, CHANNELS, COLUMNS)
    this = set_of(member, image, sets, SETS)
    known, spot = exists & (this >= 0), this * CHANNELS + channel
    centre = tl.load(mean + spot, mask=known, other=0)[None, :]
    steep = tl.load(curvature + spot, mask=known, other=0)[None, :]
    level = tl.load(constant + spot, mask=known, other=0)[None, :]
    base = image.to(tl.int64) * height * width * CHANNELS
    x, x_bar = x + base, x_bar + base
    y_bar += image.to(tl.int64) * (height // 2) * (width // 2) * CHANNELS
    for tile in range(tiles):
        i, j, here = _windows(chunk, tile, rows, width, WINDOWS)
        a, b, c, d, _a, _b, _c, _d = _four(x, i, j, here, height, width, channel, exists, 0.0, CHANNELS)
        at, whole = _place_of(i, j, here, height // 2, width // 2, channel, exists, CHANNELS)
        bar = tl.load(y_bar + at, mask=whole, other=0).to(tl.float32)
        a_bar, b_bar, c_bar, d_bar = _shared(a, b, c, d, bar)
        a_bar, b_bar = a_bar + level + steep * (a - centre), b_bar + level + steep * (b - centre)
        c_bar, d_bar = c_bar + level + steep * (c - centre), d_bar + level + steep * (d - centre)
        _write(x_bar, i, j, here, height, width, channel, exists, a_bar, b_bar, c_bar, d_bar, CHANNELS)


@triton.jit(do_not_specialize=SIZES)
def largest(
    x, y, height, width, rows, chunks, tiles,
    CHANNELS: tl.constexpr, WINDOWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The largest of each window, those that are cut off included."""
    _, image, chunk, channel, exists = place(chunks, CHANNELS, COLUMNS)
    high, wide = (height + 1) // 2, (width + 1) // 2
    x += image.to(tl.int64) * height * width * CHANNELS
    y += image.to(tl.int64) * high * wide * CHANNELS
    for tile in range(tiles):
        i, j, here = _windows(chunk, tile, rows, width, WINDOWS)
        a, b, c, d, _a, _b, _c, _d = _four(x, i, j, here, height, width, channel, exists, float("-inf"), CHANNELS)
        at, there = _place_of(i, j, here, high, wide, channel, exists, CHANNELS)
        tl.store(y + at, _largest(a, b, c, d).to(y.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=SIZES)
def largest_adjoint(
    x, y_bar, x_bar, height, width, rows, chunks, tiles,
    CHANNELS: tl.constexpr, WINDOWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """x_bar = y_bar where x is the first of the largest of its window, else 0."""
    _, image, chunk, channel, exists = place(chunks, CHANNELS, COLUMNS)
    high, wide = (height + 1) // 2, (width + 1) // 2
    base = image.to(tl.int64) * height * width * CHANNELS
    x, x_bar = x + base, x_bar + base
    y_bar += image.to(tl.int64) * high * wide * CHANNELS
    for tile in range(tiles):
        i, j, here = _windows(chunk, tile, rows, width, WINDOWS)
        a, b, c, d, _a, _b, _c, _d = _four(x, i, j, here, height, width, channel, exists, float("-inf"), CHANNELS)
        at, there = _place_of(i, j, here, high, wide, channel, exists, CHANNELS)
        bar = tl.load(y_bar + at, mask=there, other=0).to(tl.float32)
        a_bar, b_bar, c_bar, d_bar = _shared(a, b, c, d, bar)
        _write(x_bar, i, j, here, height, width, channel, exists, a_bar, b_bar, c_bar, d_bar, CHANNELS)
