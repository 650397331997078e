"""Fields of a spec by dotted paths, such as `algorithm.steps`: which there are, which one is meant, how it is set."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

Plain = Mapping[str, Any]
"""An object of plain JSON data."""


def fields(data: Plain, prefix: str = "") -> Iterator[str]:
    """Dotted paths of all fields, an object before what is in it; lists and labels are values."""
    for name, value in data.items():
        path = f"{prefix}{name}"
        yield path
        if isinstance(value, Mapping) and path != "labels":
            yield from fields(value, f"{path}.")


def meant(path: str, known: Sequence[str]) -> list[str]:
    """The fields that a path can mean: from the root the one it names, else those nearest to the root that end so."""
    if path in known:
        return [path]
    ending = [field for field in known if field.endswith(f".{path}")]
    nearest = min((field.count(".") for field in ending), default=0)
    return [field for field in ending if field.count(".") == nearest]


def near(path: str, known: Sequence[str]) -> list[str]:
    """The fields whose last name is most like the path's; if none is like it those beside it, or at the root."""
    parent, _, last = path.rpartition(".")
    names = {field.rpartition(".")[2] for field in known}
    like = get_close_matches(last, names, n=3, cutoff=0.6)
    parents = [*(meant(parent, known) if parent else []), ""]
    beside = ([field for field in known if field.rpartition(".")[0] == each] for each in parents)
    return [field for field in known if field.rpartition(".")[2] in like] or next(filter(None, beside))


def shortest(path: str, among: Sequence[str]) -> str:
    """The shortest ending of a path that no other path has."""
    parts = path.split(".")
    endings = [".".join(parts[-count:]) for count in range(1, len(parts))]
    others = [other for other in among if other != path]
    return next((end for end in endings if not any(f".{other}".endswith(f".{end}") for other in others)), path)


def placed(data: Plain, path: str, value: Any, canonical: Plain) -> dict[str, Any]:
    """A copy with a value set. An object on the way that is not there is begun with the `kind` it has by default.

    Args:
        data: what it is set in.
        path: from the root.
        value: any JSON value.
        canonical: the same with every default written out.
    """
    name, _, rest = path.partition(".")
    if not rest:
        return {**data, name: value}
    default = canonical.get(name)
    known: Plain = default if isinstance(default, Mapping) else {}
    place = data.get(name, {"kind": known["kind"]} if "kind" in known else {})
    if not isinstance(place, Mapping):
        return dict(data)  # which validation refuses
    return {**data, name: placed(place, rest, value, known)}
