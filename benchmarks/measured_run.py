"""Runs one experiment in this process as a worker's child would, and prints what it took: `SPEC` is JSON.

Alone in a process, because a peak of memory is that of the process.
"""

import json
import statistics
import sys

import torch

import worker.preload  # noqa: F401  what a child has before it starts
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.settings import settings
from core.spec import Experiment


def main() -> None:
    """Prints {"peak_mb", "seconds"}: the result's peak, and the median of a hyperiteration but for the first."""
    spec = Experiment.model_validate_json(sys.argv[1])
    torch.set_num_threads(1)
    recorder = MemoryRecorder()
    ended = run(spec, device="cpu", data_dir=settings().data_dir, recorder=recorder, checkpoints=MemoryCheckpoints())
    assert isinstance(ended, Finished)
    seconds = [value for k, value in recorder.curves["seconds"].items() if k]
    print(json.dumps({"peak_mb": ended.result["memory"]["peak_mb"], "seconds": statistics.median(seconds)}))


if __name__ == "__main__":
    main()
