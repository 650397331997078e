import pytest
import torch

from core.datasets.episodes import sample_episodes
from core.datasets.task_classes import draw_classes
from tests.core.datasets.test_episodes import chi_square

GROUPS = torch.tensor([0] * 4 + [1] * 7 + [2] * 12)[torch.randperm(23, generator=torch.Generator().manual_seed(2))]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_number_of_classes_is_as_likely() -> None:
    found = draw_classes(6000, 7, classes=50, groups=None, way_from=3, generator=generator())
    assert found.ways is not None
    counts = torch.bincount(found.ways)
    assert counts[:3].sum() == 0
    assert len(counts) == 8
    assert (counts[3:] - 1200).abs().max() < 150  # four deviations are 124


def test_classes_of_a_task_are_distinct_and_padding_repeats_the_first() -> None:
    found = draw_classes(200, 9, classes=23, groups=None, way_from=2, generator=generator())
    assert found.ways is not None
    for chosen, way in zip(found.chosen.tolist(), found.ways.tolist(), strict=True):
        assert len(set(chosen[:way])) == way
        assert set(chosen[way:]) <= {chosen[0]}


def test_a_group_has_all_classes_of_a_task_and_no_more_than_it_has() -> None:
    found = draw_classes(3000, 10, classes=23, groups=GROUPS, way_from=3, generator=generator())
    assert found.ways is not None
    most = {}
    for chosen, way in zip(found.chosen, found.ways.tolist(), strict=True):
        (group,) = set(GROUPS[chosen].tolist())
        most.setdefault(group, set()).add(way)
    assert most == {0: {3, 4}, 1: set(range(3, 8)), 2: set(range(3, 11))}
    groups = torch.bincount(GROUPS[found.chosen[:, 0]])
    assert (groups - 1000).abs().max() < 110  # each as likely, whatever its size


@pytest.mark.parametrize("way_from", [None, 3])
def test_classes_are_drawn_uniformly(way_from: int | None) -> None:
    """The first is the class behind label 0; three classes are there whatever a task's number of them."""
    knobs = {"classes": 30, "groups": None, "way_from": way_from}
    found = draw_classes(4000, 5, generator=generator(3), **knobs).chosen  # type: ignore[arg-type]
    for size in (1, 3):
        assert chi_square(found[:, :size].flatten().bincount(minlength=30), 4000, size) < 58.3  # 0.1 %, 29 degrees


@pytest.mark.parametrize("way_from", [None, 3])
def test_classes_of_a_group_are_drawn_uniformly(way_from: int | None) -> None:
    found = draw_classes(6000, 4, classes=23, groups=GROUPS, way_from=way_from, generator=generator(4)).chosen
    for group, quantile in enumerate((16.3, 22.5, 31.3)):  # 0.1 %, 3, 6 and 11 degrees of freedom
        members = (group == GROUPS).nonzero().flatten()
        own = found[GROUPS[found[:, 0]] == group]
        for size in (1, 3):
            counts = own[:, :size].flatten().bincount(minlength=23)[members]
            assert chi_square(counts, len(own), size) < quantile


def test_tasks_of_one_size_within_groups() -> None:
    found = draw_classes(100, 4, classes=23, groups=GROUPS, way_from=None, generator=generator())
    assert found.ways is None
    assert all(len(set(GROUPS[chosen].tolist())) == 1 and len(set(chosen.tolist())) == 4 for chosen in found.chosen)


def test_a_group_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="the smallest group has 4 classes"):
        draw_classes(1, 5, classes=23, groups=GROUPS, way_from=None, generator=generator())
    with pytest.raises(ValueError, match="the smallest group has 4 classes"):
        draw_classes(1, 9, classes=23, groups=GROUPS, way_from=5, generator=generator())


def test_fewer_classes_than_the_most_of_a_task_are_all_there_is() -> None:
    found = draw_classes(500, 20, classes=6, groups=None, way_from=3, generator=generator())
    assert found.ways is not None
    assert set(found.ways.tolist()) == {3, 4, 5, 6}
    assert found.chosen.shape == (500, 20)


def test_episodes_are_of_the_drawn_classes_and_split_with_their_numbers() -> None:
    images = torch.arange(23, dtype=torch.uint8).view(23, 1, 1, 1, 1).expand(23, 8, 1, 2, 2)
    sizes = {"way": 10, "shot": 2, "query": 3, "count": 7, "groups": GROUPS, "way_from": 3}
    episodes, again = (sample_episodes(images, generator=generator(1), **sizes) for _ in range(2))  # type: ignore[arg-type]
    assert episodes.support.shape == (7, 20, 1, 2, 2)
    assert torch.equal(episodes.query, again.query)
    assert episodes.ways is not None
    parts = list(episodes.split(3))
    assert [len(part.support) for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat([part.ways for part in parts if part.ways is not None]), episodes.ways)
    for support, query, way in zip(episodes.support, episodes.query, episodes.ways.tolist(), strict=True):
        of_support, of_query = ((255 * part[:, 0, 0, 0]).round().long() for part in (support, query))
        assert torch.equal(of_support[: 2 * way : 2], of_query[: 3 * way : 3])
        assert len(set(GROUPS[of_support].tolist())) == 1
