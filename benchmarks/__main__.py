"""Runs the benchmarks: `python -m benchmarks [NAME ...] [--rounds N] [--only PART] [--publish]`."""

import argparse
import warnings
from functools import partial

from benchmarks import (
    cross_fitting,
    few_shot,
    few_shot_cuda,
    hyper_cleaning,
    image_kernels_cuda,
    implicit,
    linear_models,
    method_curves,
    plan,
    rates,
    slots,
    small_networks,
    startup,
    stochastic,
    stochastic_long,
)
from benchmarks.prepared import start_again_as_a_worker_would
from benchmarks.publish import publish, save

BENCHMARKS = {
    "few_shot": few_shot.main,
    "linear_models": linear_models.main,
    "small_networks": small_networks.main,
    "hyper_cleaning": hyper_cleaning.main,
    "implicit": implicit.main,
    "slots": slots.main,
    "startup": startup.main,
}
BY_NAME_ONLY = {
    "few_shot_cuda": few_shot_cuda.main,
    "image_kernels_cuda": image_kernels_cuda.main,
    "cross_fitting": cross_fitting.main,
    "rates": rates.main,
    "plan": plan.main,
    **stochastic.PIECES,
    "stochastic_long": stochastic_long.main,
    "method_figures": method_curves.main,
}
"""What needs a GPU, or data; rates of this machine, for plans; plans against measurements, stochastic algorithms and
the figures of docs/methods.md, which take many minutes."""


def main() -> None:
    """Runs those that are named, or all; prints each comparison when it is there and keeps all rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"one of {', '.join(BENCHMARKS)}; by default all of these, or {', '.join(BY_NAME_ONLY)}",
    )
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds; medians are printed")
    parser.add_argument("--publish", action="store_true", help="write docs/results/engine.md as well, or plans.md")
    parser.add_argument("--only", default="", metavar="PART", help="of `plan`: cases with this in their name")
    parser.add_argument("--prepared", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    planning = partial(plan.main, only=arguments.only, publish=arguments.publish)
    known = BENCHMARKS | BY_NAME_ONLY | {"plan": planning}
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    if not arguments.prepared:
        start_again_as_a_worker_would("benchmarks")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torchopt")
    found = []
    for name in arguments.names or BENCHMARKS:
        for comparison in known[name](arguments.rounds) or ():
            print(comparison, end="\n\n", flush=True)
            found.append(comparison)
            save(found)
    if arguments.publish and found:
        publish(found, arguments.rounds)


if __name__ == "__main__":
    main()
