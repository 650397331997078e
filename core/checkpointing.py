"""Where the loop keeps its state between hyperiterations: the protocol, its in-memory twin, and the format."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import safetensors.torch
from torch import Tensor


class Checkpoint(NamedTuple):
    """The state before a hyperiteration, packed."""

    hyperiteration: int
    """The hyperiteration to go on with."""
    payload: bytes
    """What `pack` made."""


class Checkpoints(Protocol):
    """Keeps checkpoints durably."""

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies, of this or an earlier attempt; None: start from the beginning."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Keeps the checkpoint; durable when it returns."""
        ...


class MemoryCheckpoints:
    """Keeps checkpoints in memory, for tests and for use without a service."""

    def __init__(self) -> None:
        self.saved: list[Checkpoint] = []

    def latest(self) -> Checkpoint | None:
        """The last one saved."""
        return self.saved[-1] if self.saved else None

    def save(self, checkpoint: Checkpoint) -> None:
        """Appends to `saved`."""
        self.saved.append(checkpoint)


def pack(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """Flat named tensors and plain JSON facts as one safetensors file; never pickle."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(contiguous, metadata={"facts": json.dumps(dict(facts))})


def unpack(payload: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `pack`."""
    header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
    return safetensors.torch.load(payload), json.loads(header["__metadata__"]["facts"])
