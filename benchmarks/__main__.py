"""Runs the benchmarks: `python -m benchmarks [few_shot] [hyper_cleaning] [--rounds N]`."""

import argparse
import platform

import torch

from benchmarks import few_shot, hyper_cleaning

BENCHMARKS = {"few_shot": few_shot.main, "hyper_cleaning": hyper_cleaning.main}


def main() -> None:
    """Runs those that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; by default all")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds; medians are printed")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}")
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads\n")
    for name in arguments.names or BENCHMARKS:
        BENCHMARKS[name](arguments.rounds)


if __name__ == "__main__":
    main()
