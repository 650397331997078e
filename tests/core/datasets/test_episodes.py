import pytest
import torch
from torch import Generator, Tensor

from core.bilevel.randomness import stream
from core.datasets.augmentation import Augmentation
from core.datasets.episodes import Episodes, sample_episodes


def numbered(classes: int, images: int) -> Tensor:
    """Images of 1x1x3 pixels that say which class and which image of it they are."""
    rows, columns = torch.meshgrid(torch.arange(classes), torch.arange(images), indexing="ij")
    return torch.stack([rows, columns, torch.full_like(rows, 255)], -1).to(torch.uint8).view(classes, images, 1, 1, 3)


def sample(seed: int = 0, classes: int = 30, images: int = 20, **sizes: int) -> Episodes:
    sizes = {"way": 5, "shot": 2, "query": 7, "count": 16} | sizes
    return sample_episodes(numbered(classes, images), generator=stream(seed, "episode"), dtype=torch.float64, **sizes)


def identities(x: Tensor) -> tuple[Tensor, Tensor]:
    """Classes and images [B, n] of a set."""
    classes, images, _ = (x[..., 0, 0, :] * 255).round().long().unbind(-1)
    return classes, images


def test_shapes_and_labels() -> None:
    episodes = sample()
    assert episodes.support.shape == (16, 10, 1, 1, 3)
    assert episodes.query.shape == (16, 35, 1, 1, 3)
    assert episodes.support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert episodes.query_labels.bincount().tolist() == [7] * 5
    assert (episodes.support[..., 2] == 1).all()  # ink is 1


def test_support_and_query_are_disjoint_and_without_repetition() -> None:
    episodes = sample()
    support, query = identities(episodes.support), identities(episodes.query)
    for task in range(16):
        pairs = [(int(c), int(i)) for x in (support, query) for c, i in zip(x[0][task], x[1][task], strict=True)]
        assert len(set(pairs)) == len(pairs) == 45


def test_a_label_means_one_class_in_support_and_query_and_classes_are_distinct() -> None:
    episodes = sample()
    support, query = identities(episodes.support)[0], identities(episodes.query)[0]
    for task in range(16):
        by_label = {
            (int(label), int(cls))
            for labels, classes in ((episodes.support_labels, support), (episodes.query_labels, query))
            for label, cls in zip(labels, classes[task], strict=True)
        }
        assert len(by_label) == 5
        assert len({cls for _, cls in by_label}) == 5


def chi_square(counts: Tensor, draws: int, size: int) -> float:
    """Statistic of counts over `draws` samples of `size` without replacement, about chi-square with n - 1 degrees."""
    n = len(counts)
    expected = draws * size / n
    variance = expected * (1 - size / n)
    return float(((counts - expected) ** 2 / variance).sum() * (n - 1) / n)


def test_classes_are_drawn_uniformly() -> None:
    episodes = sample(count=4000, shot=1, query=1)
    classes = identities(episodes.support)[0]
    assert chi_square(classes.flatten().bincount(minlength=30), 4000, 5) < 58.3  # 0.1 % quantile, 29 degrees
    first = classes[:, 0].bincount(minlength=30)  # also the class behind label 0
    assert chi_square(first, 4000, 1) < 58.3


def test_images_are_drawn_uniformly() -> None:
    episodes = sample(count=2000, way=2, shot=2, query=3)
    for x, size in ((episodes.support, 2), (episodes.query, 3)):
        images = identities(x)[1]
        assert chi_square(images.flatten().bincount(minlength=20), 4000, size) < 43.8  # 0.1 % quantile, 19 degrees


def test_all_images_of_all_classes_can_be_asked_for() -> None:
    episodes = sample(classes=5, images=9, count=3)
    assert identities(episodes.query)[0].unique().tolist() == [0, 1, 2, 3, 4]


def test_episodes_are_a_function_of_the_generator() -> None:
    assert all(torch.equal(one, other) for one, other in zip(sample(seed=1)[:4], sample(seed=1)[:4], strict=True))
    assert not torch.equal(sample(seed=1).support, sample(seed=2).support)


@pytest.mark.parametrize("sizes", [{"way": 31}, {"shot": 10, "query": 11}])
def test_more_than_there_is_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="lower them"):
        sample(**sizes)


def test_the_type_is_the_one_asked_for() -> None:
    images = numbered(5, 20)
    episodes = sample_episodes(images, way=5, shot=1, query=1, count=1, generator=Generator())
    assert episodes.support.dtype == torch.float32
    assert images.dtype == torch.uint8


def test_images_are_augmented_with_the_episode_s_own_draws_and_drawn_as_they_are_without() -> None:
    images = torch.randint(0, 255, (12, 9, 3, 6, 6), dtype=torch.uint8, generator=stream(0, "images"))

    def drawn(augmentation: Augmentation | None) -> Tensor:
        knobs = {"way": 5, "shot": 2, "query": 4, "count": 40}
        episodes = sample_episodes(images, generator=stream(0, "episode"), augmentation=augmentation, **knobs)
        return torch.cat([episodes.support, episodes.query], 1).flatten(0, 1)

    plain, mirrored, changed = drawn(None), drawn(Augmentation(mirrored=True)), drawn(Augmentation(True, 0.5, 0.4))
    same, turned = ((mirrored == other).flatten(1).all(1) for other in (plain, plain.flip(-1)))
    assert (same | turned).all()
    assert (changed != plain).flatten(1).any(1).all()
    assert torch.equal(changed, drawn(Augmentation(True, 0.5, 0.4)))
