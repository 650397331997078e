"""What a person may have meant: names that other libraries have for fields and kinds, and fields of another place."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache

from core.spec import Experiment, Sweep
from core.spec.base import Spec, kind_of
from core.spec.catalog import KINDS
from core.spec.paths import fields, meant

Names = Mapping[str, Sequence[str]]
"""What others say -> what it may be here, whichever is possible in the place."""

FIELDS: Names = {
    "lr": ["rate"],
    "learning_rate": ["rate"],
    "inner_lr": ["algorithm.dynamics.rate"],
    "outer_lr": ["algorithm.optimizer.rate"],
    "T": ["steps"],
    "inner_steps": ["steps"],
    "epochs": ["hyperiterations"],
    "iterations": ["hyperiterations"],
    "outer_steps": ["hyperiterations"],
    "batch_size": ["batch", "meta_batch"],
    "n_way": ["way"],
    "k_shot": ["shot"],
    "weight_decay": ["l2"],
    "seed": ["seeds", "seed"],
}
CHOICES: Names = {
    "sgd": ["gradient_descent"],
    "gd": ["gradient_descent"],
    "momentum": ["heavy_ball"],
    "maml": ["initialization"],
    "anil": ["initialization"],
    "imaml": ["initialization"],
    "few_shot": ["hyper_representation"],
    "ridge_regression": ["regularization"],
    "logistic_regression": ["regularization"],
    "conjugate_gradient": ["cg"],
    "backprop": ["unrolled"],
    "itd": ["reverse"],
    "aid": ["implicit"],
    "protonet": ["prototypes"],
    "gpu": ["cuda"],
    "bfloat16": ["bf16"],
    "fp32": ["float32"],
    "single": ["float32"],
    "fp64": ["float64"],
    "double": ["float64"],
}


def field(name: str, allowed: Sequence[str], spec: type[Spec] | None, path: str = "") -> str:
    """In brackets, what an unknown field may have been meant to be; nothing where there is no guess.

    Args:
        name: the field.
        allowed: the fields that there are in its place.
        spec: what the body has to be; None: it is a query parameter.
        path: where the field was found, dotted from the root; what is not allowed beside it is no guess.
    """
    if spec is Experiment and name in set(Sweep.model_fields) - set(Experiment.model_fields):
        return " (it is a sweep's: `bilevel sweep`, or POST /v1/sweeps with the experiment in `base`)"
    here = [other for other in FIELDS.get(name, ()) if other in allowed]
    if here:
        return _meant(here)
    root = "base." if spec is Sweep else ""
    places = [f"{root}{place}" for other in FIELDS.get(name, [name]) for place in meant(other, _paths())]
    elsewhere = [place for place in places if place.rpartition(".")[0] != path.rpartition(".")[0]]
    if spec is not None and 1 <= len(elsewhere) <= 2:
        return _meant(elsewhere)
    return _alike(name, allowed)


def choice(given: object, choices: Sequence[str], place: str) -> str:
    """In brackets, what a value that is not possible may have been meant to be, or where it is possible.

    Args:
        given: the value.
        choices: what is possible.
        place: the field, which for kinds is the section of the catalogue.
    """
    here = [other for other in CHOICES.get(str(given), ()) if other in choices]
    if here:
        return _meant(here)
    sections = [section for section, members in KINDS.items() if given in [kind_of(member) for member in members]]
    if place in sections:
        return f" (it is a `{place}` of other experiments)"
    if sections:
        return f" (it is a `{sections[0]}`)"
    return _alike(str(given), choices)


def _alike(name: str, among: Sequence[str]) -> str:
    near = get_close_matches(name, among, n=1, cutoff=0.6)
    return _meant(near) if near else ""


def _meant(names: Sequence[str]) -> str:
    return f" (did you mean {' or '.join(f'`{name}`' for name in names)}?)"


@cache
def _paths() -> list[str]:
    """Of an experiment, those of its problem left out, which are different for every kind."""
    plain = Experiment.model_validate({"problem": {"kind": "quadratic"}}).canonical()
    return [path for path in fields(plain) if not path.startswith("problem.")]
