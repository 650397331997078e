"""Runs the benchmarks: `python -m benchmarks [few_shot] [hyper_cleaning] [--rounds N]`."""

import argparse
import os
import platform
import sys

import torch

from benchmarks import few_shot, hyper_cleaning
from core.settings import prepare_process

BENCHMARKS = {"few_shot": few_shot.main, "hyper_cleaning": hyper_cleaning.main}


def main() -> None:
    """Runs those that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; by default all")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds; medians are printed")
    parser.add_argument("--prepared", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}")
    if not arguments.prepared:
        _start_again_as_a_worker_would()
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads\n")
    for name in arguments.names or BENCHMARKS:
        BENCHMARKS[name](arguments.rounds)


def _start_again_as_a_worker_would() -> None:
    """The allocator and the threads are set up by the environment, before torch is loaded."""
    environment = dict(os.environ)
    prepare_process(len(os.sched_getaffinity(0)), environment)
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:], "--prepared"], environment)


if __name__ == "__main__":
    main()
