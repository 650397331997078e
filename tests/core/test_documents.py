"""What the documents list is what there is."""

import re
from pathlib import Path
from typing import Any

import pytest

from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.settings import Settings
from core.spec import KINDS, Experiment, kind_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def first_cells(name: str) -> str:
    """The first cells of all rows of a document's tables."""
    rows = re.findall(r"^\| (.+?) \|", (DOCS / name).read_text(), re.MULTILINE)
    return "\n".join(rows)


def test_every_setting_is_in_its_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", (DOCS / "settings.md").read_text(), re.MULTILINE))
    fields = Settings.model_fields
    assert rows.keys() == {str(field.validation_alias or f"BILEVEL_{name.upper()}") for name, field in fields.items()}
    for name, field in fields.items():
        said = rows[str(field.validation_alias or f"BILEVEL_{name.upper()}")]
        if isinstance(field.default, int | float):
            assert float(said) == field.default
        elif isinstance(field.default, Path):
            assert Path(said.strip("`")).expanduser() == field.default


@pytest.mark.parametrize("kind", ["regularization", "hyper_cleaning", "hyper_representation"])
def test_every_part_of_a_result_and_every_series_is_described(kind: str, synthetic_omniglot: Path) -> None:
    problems: dict[str, dict[str, Any]] = {
        "hyper_cleaning": {"train": 30, "validation": 20, "final_steps": 5},
        "hyper_representation": {"model": {"kind": "mlp", "hidden": [2]}, "query": 2, "meta_batch": 2},
    }
    spec = {
        "problem": {"kind": kind, **problems.get(kind, {})},
        "algorithm": {"steps": 2, "hyperiterations": 2},
        "evaluation": {"episodes": 3},
    }
    recorder = MemoryRecorder()
    knobs: dict[str, Any] = {"recorder": recorder, "checkpoints": MemoryCheckpoints()}
    ended = run(Experiment.model_validate(spec), device="cpu", data_dir=synthetic_omniglot, **knobs)
    assert isinstance(ended, Finished)
    described, whole = first_cells("reading-results.md"), (DOCS / "reading-results.md").read_text()
    assert [part for part in ended.result if f"`{part}`" not in described] == []
    assert [part for part in (*ended.result["timing"], *ended.result["memory"]) if f"`{part}`" not in whole] == []
    known = [name for name in recorder.curves if f"`{name}`" in described]
    others = set(recorder.curves) - set(known)
    assert {name.split("/")[0] for name in others} <= {"outer", "validation", "test"}
    assert {"outer_objective", "hypergradient_norm", "seconds"} <= set(known)


@pytest.mark.parametrize("part", ["hypergradient", "dynamics", "solver", "algorithm"])
def test_every_method_is_in_a_section_with_a_figure(part: str) -> None:
    _, *sections = (DOCS / "methods.md").read_text().split("\n## ")
    shown = "\n".join(section for section in sections if re.search(r"\]\(results/[^)#]+\.png\)", section))
    assert [kind for kind in map(kind_of, KINDS[part]) if f"`{kind}`" not in shown] == []


@pytest.mark.parametrize("name", ["methods.md", "results/README.md", "results/methods/README.md"])
def test_every_linked_file_is_there(name: str) -> None:
    page = DOCS / name
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []
