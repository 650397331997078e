"""What an experiment or a sweep would cost: memory, time, what would not fit and what would."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from api import schemas
from api.data import require_data, require_data_of_member
from api.deps import Caller, Uses
from api.sweep_schemas import SWEEP_EXAMPLES
from core.planning import DEVICES, Device, Plan, SweepPlan, plan, plan_sweep
from core.spec import Experiment, Sweep
from core.spec.references import references
from core.store.engine import transaction
from core.store.references import check_references
from core.store.sweeping import check_references_of_members

router = APIRouter()

Rate = Annotated[float, Field(gt=0, le=1e18)]


class DeviceQuery(BaseModel):
    """The device that is planned for: one by name, or by rates, which `python -m benchmarks rates` measures."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    device: Literal["cpu", "cuda"] | None = None
    """Whose rates are taken where none are given; by default what `resources.device` says, `cpu` for `auto`."""
    operations_per_second: Rate | None = None
    """Floating-point operations a second of a large float32 matrix product."""
    bytes_per_second: Rate | None = None
    """Bytes a second that an operation on large tensors reads and writes."""
    operator_seconds: Annotated[float, Field(gt=0, le=1)] | None = None
    """Seconds that a small operator inside a gradient takes."""
    bf16_operations_per_second: Rate | None = None
    """Floating-point operations a second of a large bfloat16 matrix product; by default those of float32."""
    replayed_seconds: Annotated[float, Field(gt=0, le=1)] | None = None
    """Seconds that a small operator takes when a CUDA graph replays it."""
    process_mb: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """MiB of main memory that a child process holds before it has loaded anything."""
    memory_mb: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """MiB of memory that an experiment may take there, where `resources.memory_limit` says nothing."""
    evaluated_together: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many times as many images as on a CPU a few-shot evaluation takes together."""

    def rates(self, spec: Experiment) -> Device:
        """The device of the plan."""
        name = self.device or ("cuda" if spec.resources.device == "cuda" else "cpu")
        given = self.model_dump(exclude={"device"}, exclude_none=True)
        measured = given.keys() - {"memory_mb"}
        label = {"name": f"{name}, with given rates"} if measured else {}
        # A device whose rate in float32 or overhead is given is another one: what it does not say is not known.
        other = {
            **({"bf16_operations_per_second": None} if "operations_per_second" in given else {}),
            **({"replayed_seconds": None} if "operator_seconds" in given else {}),
        }
        return DEVICES[name].model_copy(update=other | given | label)


@router.post("/experiments:plan", operation_id="plan_experiment", tags=["experiments"])
def plan_experiment(
    spec: Annotated[Experiment, Body(openapi_examples=schemas.SPEC_EXAMPLES)],
    device: Annotated[DeviceQuery, Query()],
    uses: Uses,
    caller: Caller,
) -> Plan:
    """Says from the spec alone what an experiment would take; nothing is stored or run.

    The body and its refusals are those of a submission. Memory is right within 20 %, times within a factor of 2 where
    the rates are those of the machine.
    """
    require_data(spec, uses.settings.data_dir)
    if references(spec.problem):
        with transaction(uses.engine) as session:
            check_references(session, spec)
    return plan(spec, device.rates(spec))


@router.post("/sweeps:plan", operation_id="plan_sweep", tags=["sweeps"])
def plan_of_sweep(
    spec: Annotated[Sweep, Body(openapi_examples=SWEEP_EXAMPLES)],
    device: Annotated[DeviceQuery, Query()],
    uses: Uses,
    caller: Caller,
) -> SweepPlan:
    """Says what every combination of a sweep would take, and all members together; nothing is stored.

    The body and its refusals are those of a submission. Other ways to the hypergradient are in the plan of a member.
    """
    for member in spec.problems():
        require_data_of_member(member, uses.settings.data_dir)
    with transaction(uses.engine) as session:
        check_references_of_members(session, spec)
    return plan_sweep(spec, device.rates)
