"""Makes requirements.lock: what pip resolves pyproject.toml to, on each supported Python, in one file with markers.

    python deploy/lock.py python3.11 python3.12 python3.13

The first Python decides the versions, the others only add what they need beside. Nothing but names and versions is
taken over, so that no address of a package index gets into the file.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LOCK = PROJECT / "requirements.lock"
EXTRAS = ("local", "plot", "dev")
BUILD = ("editables",)  # what hatchling needs for an editable installation, beside [build-system]
CHOSEN = {"torch": "2.13.0"}  # the version that speed and derivatives were checked with
EARLY = {"async-timeout": 'python_full_version < "3.11.3"'}  # redis needs it on Pythons older than those that resolve
CUDA = ("nvidia-", "cuda-", "triton")  # come with the CUDA builds of torch, by torch's own pins
HEADER = """\
# Every package of the project, its extras and its build, pinned for Python 3.11 to 3.13. Made by `make lock`; see
# docs/decisions/0005-lock-file.md.
"""

Versions = dict[str, str]
"""Package -> version."""


def requirements() -> list[str]:
    """What pyproject.toml asks for: the project, its extras, its build."""
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project = content["project"]
    extras = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras, *content["build-system"]["requires"], *BUILD, *EARLY]


def resolve(python: str, wanted: Iterable[str], settled: Versions) -> tuple[str, Versions]:
    """The Python's own version (such as 3.12) and what pip would install there, with `settled` versions kept."""
    with tempfile.TemporaryDirectory() as folder:
        environment, constraints = Path(folder) / "venv", Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in settled.items()))
        run([python, "-m", "venv", str(environment)])
        report = Path(folder) / "report.json"
        pip = [str(environment / "bin/python"), "-m", "pip", "install", "-qq", "--dry-run", "--ignore-installed"]
        run([*pip, "--report", str(report), "--constraint", str(constraints), *wanted])
        content = json.loads(report.read_text())
    return content["environment"]["python_version"], dict(versions(content["install"]))


def versions(installed: Iterable[dict[str, dict[str, str]]]) -> Iterable[tuple[str, str]]:
    """Name and version of each package, without CUDA's own and without build tags such as +cpu."""
    for package in installed:
        name = package["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
        if not name.startswith(CUDA):
            yield name, package["metadata"]["version"].partition("+")[0]


def lines(found: dict[str, Versions]) -> list[str]:
    """One line a package; with a marker where not all Pythons need it.

    Raises:
        SystemExit: two Pythons need different versions of a package.
    """
    result = []
    for name in sorted({name for packages in found.values() for name in packages}):
        pythons = [python for python, packages in found.items() if name in packages]
        wanted = {found[python][name] for python in pythons}
        if len(wanted) > 1:
            raise SystemExit(f"{name}: {sorted(wanted)} on different Pythons; bound it in pyproject.toml")
        some = "" if len(pythons) == len(found) else " or ".join(f'python_version == "{python}"' for python in pythons)
        condition = EARLY.get(name, some)
        marker = f" ; {condition}" if condition else ""
        result.append(f"{name}=={wanted.pop()}{marker}\n")
    return result


def run(command: Sequence[str]) -> None:
    """Runs a command; its failure is ours."""
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... failed with exit code {code}")


def main(pythons: Sequence[str]) -> None:
    """Resolves on each Python and writes the lock file."""
    found: dict[str, Versions] = {}
    settled = CHOSEN
    for python in pythons:
        version, packages = resolve(python, requirements(), settled)
        found[version] = packages
        settled = packages | settled
    LOCK.write_text(HEADER + "".join(lines(found)))


if __name__ == "__main__":
    main(sys.argv[1:] or ["python3.11", "python3.12", "python3.13"])
