"""Randomness is an index, not a state: every draw is a pure function of (seed, what it is for, its numbers)."""

import hashlib

import torch


def stream(seed: int, *index: int | str) -> torch.Generator:
    """A fresh CPU generator for one purpose, for example `stream(seed, "episode", k)`.

    The same arguments give the same draws on every machine, in any order, in any process, so that a reverse pass can
    recompute a minibatch and a resumed run is the same run to the bit.
    """
    text = "/".join([str(seed), *(f"{type(part).__name__}:{part}" for part in index)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
