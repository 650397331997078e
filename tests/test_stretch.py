"""An experiment in stretches, without a service, ends with the result of one run."""

import json
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.stretch import Folder, main, stretch
from core.run import Finished, Stopped

SPEC: dict[str, Any] = {
    "problem": {"kind": "hyper_cleaning", "final_steps": 20},
    "algorithm": {"kind": "nested", "steps": 20, "hyperiterations": 40},
    "evaluation": {"every": 10},
}


def begun(place: Path) -> Path:
    place.mkdir()
    (place / "spec.json").write_text(json.dumps(SPEC))
    return place


def left(place: Path) -> tuple[Any, Any, bytes]:
    """Curves but for the seconds, accuracies and outer variables."""
    result, curves = (json.loads((place / f"{name}.json").read_text()) for name in ("result", "curves"))
    assert len(curves.pop("seconds")) == SPEC["algorithm"]["hyperiterations"]
    scores = result["best"], result["final"], result["report"]
    return curves, scores, (place / "outer_variables.safetensors").read_bytes()


def test_stretches_give_what_one_run_gives(tmp_path: Path) -> None:
    assert main([str(begun(tmp_path / "whole")), "--seconds", "1000", "--prepared"]) == 0
    place, stops = begun(tmp_path / "parts"), []
    while isinstance(found := stretch(Folder(place), device="cpu", seconds=15, clock=count().__next__), Stopped):
        stops.append(found.hyperiteration)
    assert isinstance(found, Finished)
    assert stops == [14, 28]
    assert left(place) == left(tmp_path / "whole")
    assert len(list(place.glob("checkpoint-*"))) == 1


def test_a_stretch_that_ends_says_that_there_is_more(tmp_path: Path) -> None:
    assert main([str(begun(tmp_path / "parts")), "--seconds", "0", "--prepared"]) == 75
