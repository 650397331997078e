"""Runs one experiment without a service, in stretches: `python -m benchmarks.stretch FOLDER --seconds 480`.

For a machine that is there for minutes at a time and has neither Postgres nor Redis. FOLDER has the spec, spec.json. It
is the loop that a worker's child runs (`core.run`); it stops by itself after so many seconds and, begun again with the
same folder, on this machine or another, goes on where it was. Beside the spec are then the last checkpoint,
curves.json, events.json and, at the end, the artifacts and result.json, or error.json. An experiment that the spec
refers to is one of these folders, too: `--following OTHER`.

Exit status: 0, the experiment has ended; 1, it has failed; 75, there is more to do.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.prepared import start_again_as_a_worker_would
from core import plain
from core.checkpointing import Checkpoint
from core.errors import BilevelError, ReferenceInvalid
from core.problems.artifacts import Artifact, Artifacts, no_artifacts
from core.recording import MemoryRecorder
from core.run import Finished, Stopped, run
from core.settings import settings
from core.spec import Experiment

MORE_TO_DO = 75
"""EX_TEMPFAIL of sysexits.h."""


class Folder(MemoryRecorder):
    """Checkpoints, curves and events as files, each replaced as a whole; the last two from memory, at `flush`."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place
        curves = self.read("curves.json", {})
        self.curves = {name: {int(k): float(value) for k, value in points.items()} for name, points in curves.items()}
        self.events = [(kind, data) for kind, data in self.read("events.json", [])]

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

    def flush(self) -> None:
        """Writes curves and events; numbers that are not finite as strings."""
        self.write_json("curves.json", plain.data(self.curves))
        self.write_json("events.json", plain.data(self.events))

    def read(self, name: str, default: Any) -> Any:
        """A file of JSON, where it is there."""
        path = self.place / name
        return json.loads(path.read_bytes()) if path.exists() else default

    def write_json(self, name: str, content: Any) -> None:
        """As `write`."""
        self.write(name, json.dumps(content, indent=1).encode())

    def write(self, name: str, content: bytes) -> Path:
        """The whole file or, where the machine goes away, the last one."""
        begun = self.place / f"{name}.begun"
        with begun.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return begun.replace(self.place / name)


def made_in(place: Path) -> Artifacts:
    """Those of the experiment of a folder, whatever id it goes by."""

    def read(experiment: str, name: str) -> Artifact:
        if not (place / name).exists():
            raise ReferenceInvalid(f"there is no {name} in {place}: let that experiment end first")
        return Artifact(Experiment.model_validate_json((place / "spec.json").read_bytes()), (place / name).read_bytes())

    return read


def stretch(
    folder: Folder,
    *,
    device: str,
    seconds: float,
    artifacts: Artifacts = no_artifacts,
    clock: Callable[[], float] = time.monotonic,
) -> Finished | Stopped:
    """Goes on for so long, loading counted; an evaluation that has begun by then is finished.

    Raises:
        BilevelError: as `core.run` does.
    """
    spec = Experiment.model_validate_json((folder.place / "spec.json").read_bytes())
    until = clock() + seconds
    found = run(
        spec,
        device=device,
        data_dir=settings().data_dir,
        recorder=folder,
        checkpoints=folder,
        artifacts=artifacts,
        stop=lambda: clock() >= until,
        checkpoint_seconds=60,
    )
    if isinstance(found, Finished):
        for name, (_, content) in found.artifacts.items():
            folder.write(name, content)
        folder.write_json("result.json", found.result)
    return found


def main(words: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stretch", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where spec.json is, and everything else will be")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--following", type=Path, metavar="OTHER", help="the folder of the experiment it refers to")
    parser.add_argument("--prepared", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if not chosen.prepared:
        start_again_as_a_worker_would("benchmarks.stretch")
    folder, artifacts = Folder(chosen.folder), made_in(chosen.following) if chosen.following else no_artifacts
    if (result := folder.read("result.json", None)) is None:
        try:
            found = stretch(folder, device=chosen.device, seconds=chosen.seconds, artifacts=artifacts)
        except BilevelError as error:
            folder.write_json("error.json", {"kind": type(error).__name__, "message": str(error)})
            print(error, file=sys.stderr)
            return 1
        if isinstance(found, Stopped):
            print(f"stopped before hyperiteration {found.hyperiteration}")
            return MORE_TO_DO
        result = found.result
    print(json.dumps(result["test"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
