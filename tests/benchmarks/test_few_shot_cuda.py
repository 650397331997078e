"""The GPU's benchmark on the CPU, a graph's replay played by computing again."""

import torch

from benchmarks.few_shot import OFTEN, SETTINGS, floor, state
from benchmarks.few_shot_cuda import candidates, floor_from_graph
from core.bilevel import trees
from tests.core.bilevel.test_graphs import Tape


def test_the_floor_from_a_graph_is_the_floor() -> None:
    stated = state(SETTINGS[0], OFTEN)
    tape = Tape()
    again, plain = floor_from_graph(stated, tape), floor(stated)
    for _ in range(2):
        for a, b in zip(trees.leaves(again()), trees.leaves(plain()), strict=True):
            assert torch.equal(a, b)
    assert tape.captures == 1


def test_every_candidate_runs() -> None:
    found = candidates({"way": 2, "shot": 1, "meta_batch": 2}, "cpu", Tape())
    assert len(found) == 10
    for name, call in found.items():
        assert call() is not None, name
