"""Numbers, times, names and little curves as a person wants to read them."""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

BARS = "▁▂▃▄▅▆▇█"


def number(value: float | str, digits: int = 4) -> str:
    """So many significant digits; non-finite values by name."""
    value = float(value)
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    return f"{value:.{digits}g}"


def cut(text: str, longest: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted so that numbers in them rise: rate/2 before rate/10."""
    return sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )


def percent(fraction: float | str) -> str:
    """A fraction in per cent."""
    fraction = float(fraction)
    return f"{100 * fraction:.2f} %" if math.isfinite(fraction) else number(fraction)


def measure(name: str, value: float | str, digits: int = 4) -> str:
    """A value of a metric or series by its name: accuracies in per cent."""
    return percent(value) if "accuracy" in name else number(value, digits)


def around(name: str, mean: float | str, deviation: float | str | None) -> str:
    """A mean with what it may be off by, if that is known: two digits of it, four from a hundred on."""
    text = measure(name, mean)
    if deviation is None:
        return text
    digits = 4 if abs(float(deviation)) >= 99.5 else 2
    return f"{text.removesuffix(' %')} ± {measure(name, deviation, digits)}"


def duration(seconds: float) -> str:
    """Seconds, minutes and seconds, or hours and minutes."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def age(moment: str, now: datetime | None = None) -> str:
    """How long ago a moment in ISO 8601 was."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """A curve in one line of text; × where a value is not finite."""
    if not values:
        return ""
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] if math.isfinite(value) else "×" for value in values)
