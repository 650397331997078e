"""What the members of a sweep say together: which is the best, and mean and deviation over seeds."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from core.spec import Experiment
from core.spec.yardstick import yardstick


class Score(NamedTuple):
    """What a member that has succeeded reached with the outer variables that were best on validation data."""

    member: int
    parameters: Mapping[str, Any]
    """Field -> value, and `seed`."""
    metric: str
    """The validation metric by which the outer variables were chosen."""
    better: Literal["higher", "lower"]
    hyperiteration: int
    """Of the best outer variables."""
    validation: float
    """The metric on validation data."""
    test: Mapping[str, float]
    """Every metric on test data, which chose nothing."""
    yardstick: str
    """What the validation metric was measured on; only scores of the same are compared."""


class Spread(NamedTuple):
    """Values that differ by the seed."""

    mean: float
    deviation: float | None
    """Sample standard deviation (n - 1); None of a single value."""


class Cell(NamedTuple):
    """The members that differ by their seeds alone."""

    parameters: Mapping[str, Any]
    """Field -> value, without `seed`."""
    members: tuple[int, ...]
    succeeded: int
    """How many of them the means are over."""
    metric: str | None
    """The metric that chooses; None before one has succeeded."""
    validation: Spread | None
    test: Mapping[str, Spread]
    values: Mapping[str, Spread]
    """Other numbers of the results, by their paths; each over the members that have it."""


def score(
    member: int,
    parameters: Mapping[str, Any],
    spec: Mapping[str, Any],
    selection: Mapping[str, Any] | None,
    best: Mapping[str, Any] | None,
    test: Mapping[str, Any] | None,
    data: Mapping[str, Any] | None = None,
) -> Score | None:
    """A member's score from its spec and the parts of its result; None where they do not say what chooses."""
    chosen = (best or {}).get("validation", {}).get((selection or {}).get("metric"))
    if selection is None or best is None or chosen is None:
        return None
    metrics = {name: float(metric["mean"]) for name, metric in (test or {}).items()}
    metric, better, hyperiteration = selection["metric"], selection["better"], best["hyperiteration"]
    digest = f" on {data['sha256']}" if data else ""
    measured_on = measured(spec) + digest
    return Score(member, parameters, metric, better, hyperiteration, float(chosen["mean"]), metrics, measured_on)


def measured(spec: Mapping[str, Any]) -> str:
    """What the validation metric of a stored spec is measured on, as a text that is the same where that is.

    Of a spec that this version or its installed packages do not know, the whole problem and its evaluation.
    """
    try:
        known = Experiment.model_validate(spec)
        steps = getattr(known.algorithm, "steps", 1)
        return json.dumps(yardstick(known.problem, known.evaluation, steps=steps), sort_keys=True)
    except Exception:  # noqa: BLE001  whatever a package's code raises: taken whole, nothing is compared that must not be
        return json.dumps([spec.get(part) for part in ("problem", "evaluation")], sort_keys=True)


def best(scores: Iterable[Score]) -> Score | None:
    """The score with the best validation metric, the earliest of equals; non-finite values are never the best.

    None, too, where members were chosen by different metrics or on different data or tasks, which cannot be compared.
    """
    finite = [each for each in scores if math.isfinite(each.validation)]
    if len({(each.metric, each.better, each.yardstick) for each in finite}) != 1:
        return None
    sign = -1.0 if finite[0].better == "higher" else 1.0
    return min(finite, key=lambda each: (sign * each.validation, each.member))


def best_cell(cells: Iterable[Cell], scores: Iterable[Score]) -> Cell | None:
    """Of the cells whose seeds have all succeeded, more than one, that with the best mean of the validation metric.

    None where `best` would be None of these.
    """
    scored = {each.member: each for each in scores}
    whole = {cell.members[0]: cell for cell in cells if cell.succeeded == len(cell.members) > 1}
    means = (
        scored[member]._replace(parameters=cell.parameters, validation=cell.validation.mean)
        for member, cell in whole.items()
        if cell.validation is not None
    )
    found = best(means)
    return None if found is None else whole[found.member]


def cells(
    members: Sequence[Mapping[str, Any]],
    scores: Iterable[Score],
    values: Mapping[int, Mapping[str, float]] = MappingProxyType({}),
) -> list[Cell]:
    """The members grouped by their parameters without the seed, in the order of the first of each group.

    Args:
        members: parameters of every member, by its number.
        scores: of those that have succeeded.
        values: member -> path -> another number of its result.
    """
    scored = {each.member: each for each in scores}
    groups: dict[str, list[int]] = {}
    for member, parameters in enumerate(members):
        groups.setdefault(json.dumps(_without_seed(parameters), sort_keys=True), []).append(member)
    return [
        _cell(
            _without_seed(members[group[0]]),
            group,
            [scored[each] for each in group if each in scored],
            [values[each] for each in group if each in values],
        )
        for group in groups.values()
    ]


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one value; a non-finite value makes the deviation NaN."""
    if not all(map(math.isfinite, values)):
        return Spread(sum(values) / len(values), math.nan if len(values) > 1 else None)
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def _cell(
    parameters: Mapping[str, Any],
    members: Sequence[int],
    scores: Sequence[Score],
    values: Sequence[Mapping[str, float]],
) -> Cell:
    names = sorted({name for each in scores for name in each.test})
    return Cell(
        parameters,
        tuple(members),
        len(scores),
        scores[0].metric if scores else None,
        spread([each.validation for each in scores]) if scores else None,
        _spreads(names, [each.test for each in scores]),
        _spreads(dict.fromkeys(path for each in values for path in each), values),
    )


def _spreads(names: Iterable[str], found: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    return {name: spread([each[name] for each in found if name in each]) for name in names}


def _without_seed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in parameters.items() if path != "seed"}
