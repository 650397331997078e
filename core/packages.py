"""Whether what failed is the code of an installed package, and where in it: its author does not see a worker's log."""

from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb
from typing import get_args

from core.spec import KINDS
from core.spec.plugins import Plugin

OWN = ("core.store", "core.datasets")
"""What fails in these is the service's own, whoever has asked it for something."""


def packages() -> frozenset[str]:
    """Top-level names of the packages whose kinds this process knows."""
    members = [member for kinds in KINDS.values() for member in kinds if issubclass(member, get_args(Plugin))]
    return frozenset(str(member.build).partition(":")[0].partition(".")[0] for member in members)  # type: ignore[attr-defined]


def place(error: BaseException, named: frozenset[str]) -> str | None:
    """The last line in one of the packages that an error came through, "augreg/problem.py:57, in evaluate".

    None where it came through none of them, or one of them had called the service's own storage or data, which failed.
    """
    found = None
    for module, told in _frames(error):
        if module.partition(".")[0] in named:
            found = told
        elif any(module == own or module.startswith(f"{own}.") for own in OWN):
            found = None
    return found


def _frames(error: BaseException) -> Iterator[tuple[str, str]]:
    """Module and place of each frame, the outermost first."""
    for frame, line in walk_tb(error.__traceback__):
        module, code = str(frame.f_globals.get("__name__", "")), frame.f_code
        yield module, f"{_short(Path(code.co_filename), module)}:{line}, in {code.co_name}"


def _short(file: Path, module: str) -> str:
    """The file from its top-level package on, wherever that is installed."""
    top = module.partition(".")[0]
    depth = len(file.parts) - 1 - file.parts[::-1].index(top) if top in file.parts else -1
    return "/".join(file.parts[depth:])
