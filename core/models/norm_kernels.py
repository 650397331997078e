"""The kernels of `core.models.norm_triton`, in Triton's language.

Three forward and three backward: `image_moments` and `image_sums` reduce a chunk of pixels of an image, `set_moments`
and `set_sums` combine the chunks of a set, `normalized` and `adjoint` are a line in x for every pixel.

x and y [N, pixels, channels]; member [N, S]; number [N], of the set that an image is in, -1 for none; partial
[N chunks, 2, channels]; mean and variance [S, channels]; bars [2, S, channels], of offset and scale; line
[3, S, channels]: constant, curvature and slope. Those in capitals are known when a kernel is compiled.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# Kernels are in a language of their own, whose arguments have the types they are called with.

import triton
import triton.language as tl

SCANNED = tl.constexpr(1024)
"""Images whose set is read at once."""
SIZES = ("pixels", "chunks", "sets", "images", "most", "scale_row", "offset_row")
"""For whose values, 1 or multiples of 16, nothing is compiled again: channels alone decide how memory is read."""


@triton.jit
def place(chunks, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of this program: the row of `partial`, image, chunk of its pixels, channels, and which of these there are."""
    blocks: tl.constexpr = (CHANNELS + COLUMNS - 1) // COLUMNS
    row = tl.program_id(0) // blocks
    channel = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    return row, row // chunks, row % chunks, channel, channel < CHANNELS


@triton.jit
def _tile(start, pixels, channel, exists, CHANNELS: tl.constexpr, ROWS: tl.constexpr):
    """Where the pixels from `start` on lie in their image [ROWS, COLUMNS], and which of these there are."""
    pixel = start + tl.arange(0, ROWS)[:, None]
    return pixel * CHANNELS + channel[None, :], (pixel < pixels) & exists[None, :]


@triton.jit
def _leaky(values, slopes, leak):
    """The slopes, times `leak` where the values are below zero; 0 of what is infinite is 0, and NaN remains."""
    cut = (leak == 0) & (values <= 0)
    return tl.where(values > 0, slopes, tl.where(cut, 0.0, leak * slopes))


@triton.jit
def set_of(member, image, sets, SETS: tl.constexpr):
    """The number of the set that an image is in, or -1."""
    each = tl.arange(0, SETS)
    inside = tl.load(member + image * sets + each, mask=each < sets, other=0) > 0
    return tl.sum(tl.where(inside, each + 1, 0), 0) - 1


@triton.jit
def _extent(number, images, this, SCANS: tl.constexpr):
    """Of a set: its first image, the one after its last, and how many there are."""
    first, end, count = images, 0, 0
    for scan in range(SCANS):
        image = scan * SCANNED + tl.arange(0, SCANNED)
        inside = tl.load(number + image, mask=image < images, other=-1) == this
        first = tl.minimum(first, tl.min(tl.where(inside, image, images), 0))
        end = tl.maximum(end, tl.max(tl.where(inside, image + 1, 0), 0))
        count += tl.sum(inside.to(tl.int32), 0)
    return first, end, count


@triton.jit
def _set(number, images, pixels, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr, SCANS: tl.constexpr):
    """Of this program: its set, channels, which of these there are, the set's first image, the one after its last, and
    how many pixels it has."""
    this = tl.program_id(0)
    channel = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    first, end, count = _extent(number, images, this, SCANS)
    return this, channel, channel < CHANNELS, first, end, count.to(tl.float32) * pixels


@triton.jit
def _chunks_of(start, end, number, this, chunks, channel, exists, CHANNELS: tl.constexpr, ROWS: tl.constexpr):
    """Rows of `partial` from `start` on: their chunks [ROWS], where they lie [ROWS, COLUMNS], which are of the set."""
    row = start + tl.arange(0, ROWS)
    inside = tl.load(number + row // chunks, mask=row < end, other=-1) == this
    return row % chunks, row[:, None] * 2 * CHANNELS + channel[None, :], inside[:, None] & exists[None, :]


@triton.jit(do_not_specialize=SIZES)
def image_moments(
    x, member, number, partial, pixels, chunks, sets,
    CHANNELS: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SETS: tl.constexpr,
):  # fmt: skip
    """Mean, and sum of squares around it, of a chunk.

    Sums are of differences from the mean of the first tile. As the tiles are alike in size, their variance is at least
    the square of how far that is from the mean, divided by TILES: no more than that factor of round-off cancels.
    """
    row, image, chunk, channel, exists = place(chunks, CHANNELS, COLUMNS)
    tl.store(number + image, set_of(member, image, sets, SETS))  # every program of an image writes the same
    x += image.to(tl.int64) * pixels * CHANNELS
    start = chunk * TILES * ROWS
    at, inside = _tile(start, pixels, channel, exists, CHANNELS, ROWS)
    values = tl.load(x + at, mask=inside, other=0).to(tl.float32)
    shift = tl.sum(values, 0) / tl.minimum(pixels - start, ROWS)
    values = tl.where(inside, values - shift[None, :], 0)
    total, squares = values, values * values
    for tile in range(1, TILES):
        at, inside = _tile(start + tile * ROWS, pixels, channel, exists, CHANNELS, ROWS)
        values = tl.load(x + at, mask=inside, other=0).to(tl.float32)
        values = tl.where(inside, values - shift[None, :], 0)
        total += values
        squares += values * values
    moved = tl.sum(total, 0)
    mean = moved / tl.minimum(pixels - start, TILES * ROWS)
    partial += row * 2 * CHANNELS + channel
    tl.store(partial, shift + mean, mask=exists)
    tl.store(partial + CHANNELS, tl.sum(squares, 0) - moved * mean, mask=exists)


@triton.jit(do_not_specialize=SIZES)
def set_moments(
    partial, number, mean, variance, images, pixels, chunks, most,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SCANS: tl.constexpr,
):  # fmt: skip
    """M mean = sum of m mean_i, M variance = sum of squares_i + m (mean_i - mean)^2, over chunks of m pixels."""
    this, channel, exists, first, end, size = _set(number, images, pixels, CHANNELS, COLUMNS, SCANS)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(first * chunks, end * chunks, ROWS):
        chunk, at, there = _chunks_of(start, end * chunks, number, this, chunks, channel, exists, CHANNELS, ROWS)
        weight = tl.minimum(pixels - chunk * most, most).to(tl.float32)[:, None]
        total += weight * tl.load(partial + at, mask=there, other=0)
    centre = tl.sum(total, 0) / size
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(first * chunks, end * chunks, ROWS):
        chunk, at, there = _chunks_of(start, end * chunks, number, this, chunks, channel, exists, CHANNELS, ROWS)
        weight = tl.minimum(pixels - chunk * most, most).to(tl.float32)[:, None]
        away = tl.load(partial + at, mask=there, other=0) - centre[None, :]
        squares = tl.load(partial + at + CHANNELS, mask=there, other=0)
        total += tl.where(there, squares + weight * away * away, 0)
    at = this * CHANNELS + channel
    tl.store(mean + at, centre, mask=exists)
    tl.store(variance + at, tl.sum(total, 0) / size, mask=exists)


@triton.jit(do_not_specialize=SIZES)
def normalized(
    x, member, mean, variance, offset, offset_row, scale, scale_row, y, pixels, chunks, sets, epsilon, leak,
    CHANNELS: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SETS: tl.constexpr,
):  # fmt: skip
    """y = offset + slope (x - mean), all of these 0 for images in no set, times `leak` where it is below zero."""
    _, image, chunk, channel, exists = place(chunks, CHANNELS, COLUMNS)
    this = set_of(member, image, sets, SETS)
    known = exists & (this >= 0)
    centre = tl.load(mean + this * CHANNELS + channel, mask=known, other=0)
    root = tl.rsqrt(tl.load(variance + this * CHANNELS + channel, mask=known, other=0) + epsilon)
    slope = tl.load(scale + this * scale_row + channel, mask=known, other=0).to(tl.float32) * root
    constant = tl.load(offset + this * offset_row + channel, mask=known, other=0).to(tl.float32)
    base = image.to(tl.int64) * pixels * CHANNELS
    x, y = x + base, y + base
    for tile in range(TILES):
        at, inside = _tile((chunk * TILES + tile) * ROWS, pixels, channel, exists, CHANNELS, ROWS)
        values = tl.load(x + at, mask=inside, other=0).to(tl.float32)
        found = constant[None, :] + slope[None, :] * (values - centre[None, :])
        found = _leaky(found, found, leak)
        tl.store(y + at, found.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def image_sums(
    x, y_bar, member, mean, variance, offset, offset_row, scale, scale_row, number, partial,
    pixels, chunks, sets, epsilon, leak,
    CHANNELS: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SETS: tl.constexpr,
):  # fmt: skip
    """Sums of y_bar and of y_bar (x - mean) of a chunk, y_bar times `leak` where what was normalized is below zero."""
    row, image, chunk, channel, exists = place(chunks, CHANNELS, COLUMNS)
    this = set_of(member, image, sets, SETS)
    tl.store(number + image, this)  # every program of an image writes the same
    known = exists & (this >= 0)
    centre = tl.load(mean + this * CHANNELS + channel, mask=known, other=0)
    root = tl.rsqrt(tl.load(variance + this * CHANNELS + channel, mask=known, other=0) + epsilon)
    slope = tl.load(scale + this * scale_row + channel, mask=known, other=0).to(tl.float32) * root
    level = tl.load(offset + this * offset_row + channel, mask=known, other=0).to(tl.float32)
    base = image.to(tl.int64) * pixels * CHANNELS
    x, y_bar = x + base, y_bar + base
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    products = tl.zeros([ROWS, COLUMNS], tl.float32)
    for tile in range(TILES):
        at, inside = _tile((chunk * TILES + tile) * ROWS, pixels, channel, exists, CHANNELS, ROWS)
        away = tl.load(x + at, mask=inside, other=0).to(tl.float32) - centre[None, :]
        bar = tl.load(y_bar + at, mask=inside, other=0).to(tl.float32)
        bar = _leaky(level[None, :] + slope[None, :] * away, bar, leak)
        total += bar
        products += bar * away
    partial += row * 2 * CHANNELS + channel
    tl.store(partial, tl.sum(total, 0), mask=exists)
    tl.store(partial + CHANNELS, tl.sum(products, 0), mask=exists)


@triton.jit(do_not_specialize=SIZES)
def set_sums(
    partial, number, variance, scale, scale_row, mean_bar, variance_bar, bars, line,
    images, pixels, chunks, sets, epsilon,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SCANS: tl.constexpr,
):  # fmt: skip
    """The cotangents of the offset and scale of a set, and the line of `adjoint`."""
    this, channel, exists, first, end, size = _set(number, images, pixels, CHANNELS, COLUMNS, SCANS)
    totals = tl.zeros([ROWS, COLUMNS], tl.float32)
    products = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(first * chunks, end * chunks, ROWS):
        _, at, there = _chunks_of(start, end * chunks, number, this, chunks, channel, exists, CHANNELS, ROWS)
        totals += tl.load(partial + at, mask=there, other=0)
        products += tl.load(partial + at + CHANNELS, mask=there, other=0)
    at = this * CHANNELS + channel
    root = tl.rsqrt(tl.load(variance + at, mask=exists, other=0) + epsilon)
    slope = tl.load(scale + this * scale_row + channel, mask=exists, other=0).to(tl.float32) * root
    total, scale_bar = tl.sum(totals, 0), tl.sum(products, 0) * root
    curvature = (2 * tl.load(variance_bar + at, mask=exists, other=0) - slope * root * scale_bar) / size
    constant = (tl.load(mean_bar + at, mask=exists, other=0) - slope * total) / size
    each = sets * CHANNELS
    tl.store(bars + at, total, mask=exists)
    tl.store(bars + each + at, scale_bar, mask=exists)
    tl.store(line + at, constant, mask=exists)
    tl.store(line + each + at, curvature, mask=exists)
    tl.store(line + 2 * each + at, slope, mask=exists)


@triton.jit(do_not_specialize=SIZES)
def adjoint(
    x, y_bar, number, mean, offset, offset_row, line, x_bar, pixels, chunks, sets, leak,
    CHANNELS: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """x_bar = constant + curvature (x - mean) + slope y_bar, all of these 0 for images in no set, y_bar times `leak`
    where what was normalized is below zero."""
    _, image, chunk, channel, exists = place(chunks, CHANNELS, COLUMNS)
    this = tl.load(number + image)
    known, each = exists & (this >= 0), sets * CHANNELS
    line += this * CHANNELS + channel
    centre = tl.load(mean + this * CHANNELS + channel, mask=known, other=0)
    constant = tl.load(line, mask=known, other=0)
    curvature = tl.load(line + each, mask=known, other=0)
    slope = tl.load(line + 2 * each, mask=known, other=0)
    level = tl.load(offset + this * offset_row + channel, mask=known, other=0).to(tl.float32)
    base = image.to(tl.int64) * pixels * CHANNELS
    x, y_bar, x_bar = x + base, y_bar + base, x_bar + base
    for tile in range(TILES):
        at, inside = _tile((chunk * TILES + tile) * ROWS, pixels, channel, exists, CHANNELS, ROWS)
        away = tl.load(x + at, mask=inside, other=0).to(tl.float32) - centre[None, :]
        bar = tl.load(y_bar + at, mask=inside, other=0).to(tl.float32)
        bar = _leaky(level[None, :] + slope[None, :] * away, bar, leak)
        found = constant[None, :] + curvature[None, :] * away + slope[None, :] * bar
        tl.store(x_bar + at, found.to(x_bar.dtype.element_ty), mask=inside)
