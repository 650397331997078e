from pathlib import Path

import numpy as np
import pytest
import torch

from core.datasets.class_sets import ClassImages
from core.datasets.omniglot import load_omniglot, omniglot_groups, rotate, split_characters
from core.errors import DataInvalid, DataMissing
from core.spec.datasets import Omniglot

CHARACTERS = 1623


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared file whose images say in their upper left corner which character they are."""
    images = np.zeros((CHARACTERS, 20, 28, 28), dtype=np.uint8)
    images[:, :, 0, 0] = (np.arange(CHARACTERS) // 200 + 1)[:, None]
    images[:, :, 0, 1] = (np.arange(CHARACTERS) % 200 + 1)[:, None]
    lists = np.repeat([2, 0, 1], [423, 1028, 172]).astype(np.int8)
    path = tmp_path_factory.mktemp("omniglot")
    np.savez_compressed(
        path / "omniglot-28.npz", images=images, names=np.arange(CHARACTERS).astype(str), vinyals_split=lists
    )
    return path


def characters(images: torch.Tensor) -> set[int]:
    """The characters that classes [c, 20, 1, 28, 28] are rotations of."""
    sides = torch.stack([images.rot90(-turns, dims=(-2, -1))[:, 0, 0, 0, :2] for turns in range(4)])
    large, small = sides.amax(0).long().unbind(1)  # the corner holds zero in the three wrong rotations
    return set(((large - 1) * 200 + small - 1).tolist())


@pytest.mark.parametrize("split", ["paper", "vinyals"])
@pytest.mark.parametrize("rotations", [True, False])
def test_the_meta_sets_have_the_sizes_that_specs_are_checked_against(folder: Path, split: str, rotations: bool) -> None:
    dataset = Omniglot(split=split, rotations=rotations)  # type: ignore[arg-type]
    sets = load_omniglot(dataset, seed=0, data_dir=folder)
    assert tuple(len(images) for images in sets) == dataset.class_counts()
    assert all(images.shape[1:] == (20, 1, 28, 28) and images.dtype == torch.uint8 for images in sets)


@pytest.mark.parametrize("split", ["paper", "vinyals"])
def test_no_rotation_of_a_character_is_in_another_meta_set(folder: Path, split: str) -> None:
    sets = load_omniglot(Omniglot(split=split), seed=5, data_dir=folder)  # type: ignore[arg-type]
    found = [characters(images) for images in sets]
    assert [len(one) for one in found] == [count // 4 for count in Omniglot(split=split).class_counts()]  # type: ignore[arg-type]
    assert set.union(*found) == set(range(CHARACTERS))


def test_the_split_of_vinyals_follows_its_lists_whatever_the_seed(folder: Path) -> None:
    def sets(seed: int) -> ClassImages:
        return load_omniglot(Omniglot(split="vinyals", rotations=False), seed=seed, data_dir=folder)

    assert characters(sets(0).test) == set(range(423))
    assert characters(sets(1).validation) == set(range(1451, CHARACTERS))
    assert all(torch.equal(one, other) for one, other in zip(sets(0), sets(1), strict=True))


def test_the_split_of_the_paper_is_a_function_of_the_seed() -> None:
    assert all(torch.equal(one, other) for one, other in zip(split_characters(4), split_characters(4), strict=True))
    assert not torch.equal(split_characters(4)[1], split_characters(5)[1])
    assert [len(part) for part in split_characters(0)] == [1200, 100, 323]
    assert torch.equal(torch.cat(split_characters(0)).sort().values, torch.arange(CHARACTERS))


def test_the_four_rotations_are_different_classes() -> None:
    images = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 1, 2, 2)
    turned = rotate(images)
    assert len(turned) == 8
    assert turned[[0, 2, 4, 6], 0, 0].flatten(1).tolist() == [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1]]


@pytest.mark.parametrize("rotations", [True, False])
def test_reflections_are_further_classes_of_meta_training_alone(folder: Path, rotations: bool) -> None:
    dataset = Omniglot(rotations=rotations, reflections=True)
    plain = load_omniglot(Omniglot(rotations=rotations), seed=3, data_dir=folder)
    sets = load_omniglot(dataset, seed=3, data_dir=folder)
    assert tuple(len(images) for images in sets) == dataset.class_counts()
    assert torch.equal(sets.train, torch.cat([plain.train, plain.train.flip(-1)]))
    assert torch.equal(sets.validation, plain.validation)
    assert torch.equal(sets.test, plain.test)


def test_a_reflected_alphabet_is_a_group_of_its_own(synthetic_alphabets: Path) -> None:
    dataset = Omniglot(split="alphabets", reflections=True)
    sets = load_omniglot(dataset, seed=0, data_dir=synthetic_alphabets)
    groups = omniglot_groups(dataset, seed=0, data_dir=synthetic_alphabets)
    assert groups is not None
    assert [len(group) for group in groups] == [len(images) for images in sets]
    assert [len(group.unique()) for group in groups] == [240, 40, 40]
    first, mirrored = (sets.train[groups.train == 3 + 120 * half] for half in (0, 1))
    assert torch.equal(mirrored, first.flip(-1))


def test_a_file_without_the_lists_serves_the_papers_split_only(tmp_path: Path, folder: Path) -> None:
    with np.load(folder / "omniglot-28.npz") as whole:
        np.savez_compressed(tmp_path / "omniglot-28.npz", images=whole["images"], names=whole["names"])
    load_omniglot(Omniglot(rotations=False), seed=0, data_dir=tmp_path)
    with pytest.raises(DataMissing, match="without the lists of the split `vinyals`"):
        load_omniglot(Omniglot(split="vinyals"), seed=0, data_dir=tmp_path)


def test_a_part_of_omniglot_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "omniglot-28.npz", images=np.zeros((964, 20, 28, 28), np.uint8), names=np.zeros(1))
    with pytest.raises(DataInvalid, match=r"\(964, 20, 28, 28\), not \(1623, 20, 28, 28\)"):
        load_omniglot(Omniglot(), seed=0, data_dir=tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("split", ["paper", "vinyals"])
def test_real_images_are_ink_on_empty_paper(data_dir: Path, split: str) -> None:
    dataset = Omniglot(split=split, rotations=False)  # type: ignore[arg-type]
    sets = load_omniglot(dataset, seed=0, data_dir=data_dir)
    assert tuple(len(images) for images in sets) == dataset.class_counts()
    for images in sets:
        assert images.max() == 255
        assert 0.03 < images.double().mean() / 255 < 0.15


@pytest.mark.parametrize("rotations", [True, False])
def test_the_split_of_alphabets_keeps_them_whole(synthetic_alphabets: Path, rotations: bool) -> None:
    dataset = Omniglot(split="alphabets", rotations=rotations)
    sets = load_omniglot(dataset, seed=0, data_dir=synthetic_alphabets)
    groups = omniglot_groups(dataset, seed=0, data_dir=synthetic_alphabets)
    assert groups is not None
    found, turns = [], 4 if rotations else 1
    for images, group, count in zip(sets, groups, (30, 10, 10), strict=True):
        assert len(images) == len(group)
        alphabet = images[:, 0].amax((-1, -2, -3)).long() - 100
        assert torch.equal(torch.bincount(group) > 0, torch.ones(turns * count, dtype=torch.bool))
        assert len(set(zip(alphabet.tolist(), (group // count).tolist(), strict=True))) == turns * count
        assert all(len(set(alphabet[group == number].tolist())) == 1 for number in range(turns * count))
        found.append(set(alphabet.tolist()))
    assert found[0] == set(range(30))
    assert found[1] | found[2] == set(range(30, 50))
    other = load_omniglot(dataset, seed=1, data_dir=synthetic_alphabets)
    assert set((other.test[:, 0].amax((-1, -2, -3)).long() - 100).tolist()) != found[2]
    assert torch.equal(other.train, sets.train)


def test_a_rotation_turns_whole_alphabets(synthetic_alphabets: Path) -> None:
    dataset = Omniglot(split="alphabets")
    sets = load_omniglot(dataset, seed=0, data_dir=synthetic_alphabets)
    groups = omniglot_groups(dataset, seed=0, data_dir=synthetic_alphabets)
    assert groups is not None
    first = sets.train[groups.train == 3][0, 0]
    for turns in range(4):
        turned = sets.train[groups.train == 3 + 30 * turns]
        assert (turned == first.rot90(turns, dims=(-2, -1))).all()


def test_a_file_without_alphabets_says_so(folder: Path) -> None:
    with pytest.raises(DataMissing, match="does not say which alphabets"):
        load_omniglot(Omniglot(split="alphabets"), seed=0, data_dir=folder)


@pytest.mark.data
def test_real_alphabets_have_the_sizes_that_specs_are_checked_against(data_dir: Path) -> None:
    dataset = Omniglot(split="alphabets")
    groups = omniglot_groups(dataset, seed=0, data_dir=data_dir)
    assert groups is not None
    assert [len(set(group.tolist())) for group in groups] == [120, 40, 40]
    sizes = torch.cat([torch.bincount(group) for group in groups])
    assert (int(sizes.min()), int(sizes.max())) == dataset.pools()
    assert len(groups.train) == 4 * 964
    others = torch.cat([torch.bincount(group)[:10] for group in groups[1:]]).sort().values
    assert 4 * int(others[:10].sum()) == dataset.test_classes()
