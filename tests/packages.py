"""Packages with problems of their own, as a package manager leaves them in a folder."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, modules: Mapping[str, str], points: Mapping[str, str]) -> None:
    """Modules by path and text, and the entry points of problems: with the folder in PYTHONPATH they are found."""
    metadata = folder / "somebodys-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    listed = "".join(f"{name} = {value}\n" for name, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[bilevel.problems]\n{listed}")
    for name, text in modules.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
