"""Cross-fitting: each example of a task of meta-training is a support example once.

The K sets that a task is cut into have `shot` examples of each class. Each in turn is the support set, and the others
are together the query set: K inner problems on features that are made once.
"""

import torch
from torch import Tensor

from core.bilevel.problem import Tree
from core.datasets.episodes import Episodes


def cut(episodes: Episodes, shot: int) -> Tensor:
    """The images of tasks as their sets [B, K, way * shot, ...], the support set first; examples ordered by class."""
    parts, way = (episodes.support, episodes.query), episodes.support.shape[1] // shot
    by_class = torch.cat([part.reshape(len(part), way, -1, shot, *part.shape[2:]) for part in parts], 2)
    return by_class.transpose(1, 2).flatten(2, 3)


def in_turn(features: Tensor, shot: int) -> dict[str, Tree]:
    """Of features [B, K, way * shot, d], the support sets [B K, way * shot, d] and their query sets, K - 1 times as
    large, both ordered by class."""
    tasks, sets, examples, size = features.shape
    # Row k is all numbers below K but k, made on the device: nothing may be copied to it while a graph is captured.
    rest = torch.arange(sets - 1, device=features.device)
    others = rest + (rest >= torch.arange(sets, device=features.device).unsqueeze(1))
    query = features.view(tasks, sets, -1, shot, size)[:, others]  # [B, K, K - 1, way, shot, d]
    by_class = query.transpose(2, 3).reshape(tasks * sets, (sets - 1) * examples, size)
    return {"support": features.flatten(0, 1), "query": by_class}
