"""Work and the devices that do it: seconds = operations / rate + bytes / bandwidth + operators x overhead."""

from dataclasses import astuple, dataclass

from pydantic import BaseModel, ConfigDict, Field

from core.spec.experiment import PROCESS_MB
from core.spec.images import AT_A_TIME_ON_A_GPU

MIB = 2**20


@dataclass(frozen=True)
class Work:
    """What a computation asks of a device."""

    operations: float = 0.0
    """Floating-point operations, those of narrow products counted as `product` says."""
    traffic: float = 0.0
    """Bytes read and written."""
    operators: float = 0.0
    """Calls of tensor operators, each as dear as one of a gradient of a small problem."""
    bf16_operations: float = 0.0
    """Floating-point operations in bfloat16."""

    def __add__(self, other: "Work") -> "Work":
        return Work(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def __rmul__(self, times: float) -> "Work":
        return Work(*(times * each for each in astuple(self)))

    def seconds(self, device: "Device") -> float:
        """How long the device takes."""
        return (
            self.operations / device.operations_per_second
            + self.traffic / device.bytes_per_second
            + self.operators * device.operator_seconds
            + self.bf16_operations / (device.bf16_operations_per_second or device.operations_per_second)
        )


NOTHING = Work()
NARROW = 64
"""Columns below which a matrix product takes as long as with so many."""


def multiplied(operations: float, item: int) -> Work:
    """Operations of products of numbers of `item` bytes; float64 runs at half the rate of float32."""
    return Work(bf16_operations=operations) if item == 2 else Work(operations * item / 4)


def product(rows: float, inner: float, columns: float, item: int) -> Work:
    """[rows, inner] @ [inner, columns] of numbers of `item` bytes."""
    narrowest = min(rows, inner, columns)
    wide = 2 * rows * inner * columns * max(NARROW / max(narrowest, 1), 1) if min(rows, inner) > 1 else 0.0
    return multiplied(wide, item) + Work(0, item * (rows * inner + inner * columns + rows * columns))


class Device(BaseModel):
    """A device by its rates, which a plan turns work into seconds with."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True, extra="forbid")

    name: str
    """For people."""
    operations_per_second: float = Field(gt=0)
    """Floating-point operations a second of a large float32 matrix product."""
    bytes_per_second: float = Field(gt=0)
    """Bytes a second that an operation on large tensors reads and writes."""
    operator_seconds: float = Field(gt=0)
    """Seconds that a small operator inside a gradient takes, however small its tensors are."""
    bf16_operations_per_second: float | None = Field(default=None, gt=0)
    """Floating-point operations a second of a large bfloat16 matrix product; null: as of float32."""
    replayed_seconds: float | None = Field(default=None, gt=0)
    """Seconds that a small operator takes when a CUDA graph replays it; null: there are none there."""
    process_mb: float = Field(gt=0)
    """MiB of main memory that a child process holds before it has loaded anything."""
    memory_mb: float | None = Field(default=None, gt=0)
    """MiB of memory that an experiment may take there; null: not known."""
    evaluated_together: int = Field(default=1, ge=1)
    """How many times as many images as on a CPU a few-shot evaluation takes together there."""


DEVICES = {
    device.name: device
    for device in (
        Device(
            name="cpu",
            operations_per_second=9e10,
            bytes_per_second=8e9,
            operator_seconds=5e-6,
            process_mb=PROCESS_MB,
        ),
        Device(
            name="cuda",
            operations_per_second=2e13,
            bf16_operations_per_second=6e14,
            bytes_per_second=2.5e12,
            operator_seconds=1.9e-5,
            replayed_seconds=2e-6,
            process_mb=2300,
            evaluated_together=AT_A_TIME_ON_A_GPU,
        ),
    )
}
"""By name, as measured. `cpu`: one core of a server of 2022 with AVX-512. `cuda`: an NVIDIA H100 without TF32; its
memory is reckoned as main and device memory together."""
