"""Where the figures go: benchmarks/out/engine.json for programs, docs/results/engine.md for readers."""

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from benchmarks.measure import Comparison
from core.environment import environment

OUT = Path(__file__).parent / "out" / "engine.json"
PAGE = Path(__file__).parents[1] / "docs" / "results" / "engine.md"
MARK = "<!-- below: written by make bench ARGS=--publish -->"
PACKAGES = ("torch", "higher", "torchopt", "jax", "jaxopt", "optax")


def save(comparisons: Sequence[Comparison]) -> None:
    """All rows as JSON."""
    OUT.parent.mkdir(exist_ok=True)
    rows = [row._asdict() for comparison in comparisons for row in comparison.rows]
    OUT.write_text(json.dumps({"made_with": made_with(), "rows": rows}, indent=1))


def publish(comparisons: Sequence[Comparison], rounds: int) -> None:
    """Tables below the page's mark; what people have written above it stays."""
    above = PAGE.read_text().partition(MARK)[0]
    facts = ", ".join(f"{name} {value}" for name, value in made_with().items())
    head = f"Medians of {rounds} interleaved rounds, ratios to the first row of each table. {facts}."
    PAGE.write_text("\n".join([above + MARK, "", head, *map(_table, comparisons)]))


def made_with() -> dict[str, str]:
    """Device, versions, date."""
    found = environment("cpu")
    versions = {name: metadata.version(name) for name in PACKAGES if _installed(name)}
    return {
        "device": f"{found['device_name']} ({torch.get_num_threads()} threads)",
        "Python": platform.python_version(),
        **versions,
        "revision": str(found["git_revision"])[:12],
        "date": datetime.now(UTC).date().isoformat(),
    }


def _installed(package: str) -> bool:
    return any(True for _ in metadata.distributions(name=package))


def _table(comparison: Comparison) -> str:
    first = comparison.rows[0]
    lines = [
        f"\n### {first.workload}: {first.settings}\n",
        "| implementation | median, ms | ratio | peak, MB |",
        "|---|---|---|---|",
    ]
    for row in comparison.rows:
        peak = "" if row.peak_mb is None else f"{row.peak_mb:.1f}"
        lines.append(f"| {row.implementation} | {1e3 * row.median_s:.2f} | {row.ratio_to_floor:.2f} | {peak} |")
    if not comparison.quiet:
        lines.append("\nOther processes were busy during these rounds.")
    return "\n".join(lines) + "\n"
