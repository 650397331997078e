"""What the preconditioner of conjugate gradient on a linear model costs."""

from typing import NamedTuple

from core.planning.work import Work, product


class Preconditioner(NamedTuple):
    """The one of a linear model, in single precision."""

    made: Work
    """Making it."""
    memory: float
    """Bytes while it is made."""
    read: float
    """Bytes that a product reads of it."""


def preconditioner(examples: int, features: int, classes: int, item: int) -> Preconditioner:
    """One factor of the mean curvature, or for each class one of as many of its examples as `most_curved` takes."""
    n, d = examples, features
    if classes == 1:
        return Preconditioner(product(d, n, d, item) + Work(d**3 / 3, 0, 20), 8.0 * d * d, 4.0 * d * d)
    rows = min(max(n / (2 * classes), 32 * n / d), n)
    least = min(rows, d)
    work = classes * product(least, max(rows, d), least, item) + Work(classes * least**3 / 3, 16 * n * classes, 60)
    kept = 4.0 * classes * (least**2 + (rows * d if rows < d else 0))
    return Preconditioner(work, 4.0 * classes * (2 * rows * d + 2 * least**2), kept)
