"""Runs one experiment without a service, in stretches: `python -m benchmarks.stretch FOLDER --seconds 480`.

For a machine that is there for minutes at a time and has neither Postgres nor Redis. FOLDER has the spec, spec.json. It
is the loop that a worker's child runs (`core.run`); it stops by itself after so many seconds and, begun again with the
same folder, on this machine or another, goes on where it was. Beside the spec are then the last checkpoint,
curves.json, events.jsonl and, at the end, result.json and the artifacts.

Exit status: 0, the experiment has ended; 75, there is more to do.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.prepared import start_again_as_a_worker_would
from core.checkpointing import Checkpoint
from core.run import Finished, Stopped, run
from core.settings import settings
from core.spec import Experiment

MORE_TO_DO = 75
"""EX_TEMPFAIL of sysexits.h."""


class Folder:
    """Checkpoints and curves as files, each replaced as a whole."""

    def __init__(self, place: Path) -> None:
        self.place = place
        written = place / "curves.json"
        curves = json.loads(written.read_bytes()) if written.exists() else {}
        self.curves = {name: {int(k): float(value) for k, value in points.items()} for name, points in curves.items()}

    def latest(self) -> Checkpoint | None:
        """The newest that is here."""
        found = {
            int(path.stem.removeprefix("checkpoint-")): path for path in self.place.glob("checkpoint-*.safetensors")
        }
        return Checkpoint(max(found), found[max(found)].read_bytes()) if found else None

    def save(self, checkpoint: Checkpoint) -> None:
        """In place of those before."""
        before = set(self.place.glob("checkpoint-*.safetensors"))
        written = self.write(f"checkpoint-{checkpoint.hyperiteration}.safetensors", checkpoint.payload)
        for path in before - {written}:
            path.unlink()

    def points(self, hyperiteration: int, values: Mapping[str, float]) -> None:
        """Held back until `flush`."""
        for name, value in values.items():
            self.curves.setdefault(name, {})[hyperiteration] = value

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """At once."""
        with (self.place / "events.jsonl").open("a") as file:
            file.write(json.dumps({"kind": kind, "data": dict(data)}) + "\n")

    def flush(self) -> None:
        """Writes the curves; numbers that are not finite as strings."""
        shown = {
            name: {k: value if math.isfinite(value) else str(value) for k, value in points.items()}
            for name, points in self.curves.items()
        }
        self.write("curves.json", json.dumps(shown).encode())

    def write(self, name: str, content: bytes) -> Path:
        """The whole file or, where the machine goes away, the last one."""
        begun = self.place / f"{name}.begun"
        with begun.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return begun.replace(self.place / name)


def stretch(
    folder: Folder, *, device: str, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Finished | Stopped:
    """Goes on for so long, loading counted; an evaluation that has begun by then is finished."""
    spec = Experiment.model_validate_json((folder.place / "spec.json").read_bytes())
    until = clock() + seconds
    found = run(
        spec,
        device=device,
        data_dir=settings().data_dir,
        recorder=folder,
        checkpoints=folder,
        stop=lambda: clock() >= until,
        checkpoint_seconds=60,
    )
    if isinstance(found, Finished):
        folder.write("result.json", json.dumps(found.result, indent=1).encode())
        for name, (_, content) in found.artifacts.items():
            folder.write(name, content)
    return found


def main(words: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stretch", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where spec.json is, and everything else will be")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prepared", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if not chosen.prepared:
        start_again_as_a_worker_would("benchmarks.stretch")
    found = stretch(Folder(chosen.folder), device=chosen.device, seconds=chosen.seconds)
    if isinstance(found, Stopped):
        print(f"stopped before hyperiteration {found.hyperiteration}")
        return MORE_TO_DO
    print(json.dumps(found.result["test"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
