"""Runs one experiment in this process as a worker's child would, and prints what it took: `SPEC` is JSON.

Alone in a process, because a peak of memory is that of the process. Time is the processor's: with one thread that is
the time on a machine that nobody else uses.
"""

import json
import statistics
import sys
import time

import torch

import worker.preload  # noqa: F401  what a child has before it starts
from core.build import build
from core.outcome import make_result
from core.progress import Progress
from core.settings import settings
from core.spec import Experiment


def main() -> None:
    """Prints {"peak_mb", "seconds", "evaluation_seconds"}.

    The result's peak, the mean of the hyperiterations but for the first, which loads code, and the last evaluation.
    """
    spec = Experiment.model_validate_json(sys.argv[1])
    torch.set_num_threads(1)
    instance, algorithm = build(spec, device="cpu", data_dir=settings().data_dir)
    progress = Progress(0, algorithm.init(instance.initial))
    progress, _ = progress.evaluate(instance, algorithm)
    seconds = []
    for k in range(spec.algorithm.hyperiterations):
        start = time.process_time()
        state, _ = algorithm.step(k, progress.state)
        seconds.append(time.process_time() - start)
        progress = progress.advance(state)
    progress.checkpoint(spec)
    start = time.process_time()
    progress, scores = progress.evaluate(instance, algorithm)
    evaluation = time.process_time() - start
    result = make_result(spec, instance, progress, scores, device="cpu")
    found = {
        "peak_mb": result["memory"]["peak_mb"],
        "seconds": statistics.mean(seconds[1:]),
        "evaluation_seconds": evaluation,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
