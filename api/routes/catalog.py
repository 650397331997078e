"""Every kind that a spec can name, and what a spec has besides, with JSON Schemas and examples."""

import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.deps import Caller, Uses
from api.schemas import SPEC_EXAMPLES
from api.sweep_schemas import SWEEP_EXAMPLES
from core.datasets.catalog import ENTRIES
from core.datasets.finding import require
from core.errors import DataInvalid, DataMissing
from core.spec import KINDS, Experiment, Sweep, kind_of
from core.spec.base import Spec
from core.spec.catalog import PARTS
from core.spec.problems import Quadratic

router = APIRouter(tags=["catalog"])


@router.get("/catalog", operation_id="get_catalog", response_class=JSONResponse, response_model=None)
def catalog(uses: Uses, caller: Caller) -> dict[str, Any]:
    """Every kind by section, and every part of an experiment that has no kind, by its path: what it is, its JSON
    Schema, an example with all defaults; which data are missing."""
    sections = {
        section: [
            {"kind": kind_of(member)}
            | _entry(member)
            | (_presence(member, uses.settings.data_dir) if section == "dataset" else {})
            for member in members
        ]
        for section, members in KINDS.items()
    }
    return {
        "experiment": {
            "description": inspect.getdoc(Experiment),
            "example": Experiment(problem=Quadratic()).canonical(),
            "examples": _values(SPEC_EXAMPLES),
            "schema": _schema(Experiment),
        },
        "parts": {path: _entry(member) for path, member in PARTS.items()},
        "sweep": {"schema": _schema(Sweep), "examples": _values(SWEEP_EXAMPLES)},
        "kinds": sections,
    }


def _values(examples: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: example["value"] for name, example in examples.items()}


def _entry(member: type[Spec]) -> dict[str, Any]:
    return {
        "description": inspect.cleandoc(member.__doc__ or ""),
        "example": member().model_dump(mode="json"),
        "schema": _schema(member),
    }


@cache
def _schema(member: type[Spec]) -> Mapping[str, Any]:
    return member.model_json_schema()


def _presence(member: type[Spec], data_dir: Path) -> dict[str, Any]:
    entry = ENTRIES[kind_of(member)]
    facts = {"source": entry.source, "licence": entry.licence, "built_in": entry.built_in, "missing": None}
    try:
        require(member(), data_dir)  # type: ignore[arg-type] # the members of this section are data sets
    except (DataMissing, DataInvalid) as error:
        facts["missing"] = str(error)
    return facts
