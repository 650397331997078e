import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.datasets import mini_imagenet
from core.datasets.catalog import ENTRIES
from core.datasets.class_images import load_class_images
from core.datasets.finding import require
from core.datasets.mini_imagenet import decode, load_mini_imagenet
from core.datasets.originals import convert
from core.datasets.prepared import content_digest
from core.datasets.preparing import prepare
from core.errors import DataInvalid, DataMissing
from core.spec.datasets import MiniImagenet

PARTS = ("train", "val", "test")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> MiniImagenet:
    """The data set as if it had seven classes of four images."""
    monkeypatch.setattr(MiniImagenet, "class_counts", lambda self: (3, 2, 2))
    monkeypatch.setattr(MiniImagenet, "images_per_class", 4)
    return MiniImagenet()


def picture(label: int, number: int, size: tuple[int, int] = (84, 84)) -> Image.Image:
    """One colour that tells class and image."""
    return Image.new("RGB", size, (30 * label + 10, 50 * number + 20, 200))


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind, quality=95)
    return file.getvalue()


def originals(folder: Path, *, zipped: bool, size: tuple[int, int] = (84, 84)) -> list[Path]:
    """Lists of three, two and two classes, not in order, and their images."""
    images = folder / "images"
    (images / "deep").mkdir(parents=True)
    label, lists = 0, []
    for part, count in zip(PARTS, (3, 2, 2), strict=True):
        rows = []
        for _ in range(count):
            for number in range(4):
                name = f"n{label:08d}{number:08d}.jpg"
                (images / "deep" / name).write_bytes(encoded(picture(label, number, size)))
                rows.append(f"{name},n{label:08d}")
            label += 1
        lists.append(folder / f"{part}.csv")
        lists[-1].write_text("\n".join(["filename,label", *rows[::-1]]) + "\n")
    if not zipped:
        return [*lists, images]
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in images.rglob("*.jpg"):
            archive.write(path, f"images/{path.name}")
    return [*lists, folder / "images.zip"]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("size", [(84, 84), (200, 150)])
def test_originals_become_classes_of_images(
    tmp_path: Path, few: MiniImagenet, zipped: bool, size: tuple[int, int]
) -> None:
    made = prepare("mini_imagenet", originals(tmp_path, zipped=zipped, size=size), tmp_path / "data")
    assert made.path == tmp_path / "data" / "mini-imagenet-84.npz"
    assert not made.published
    sets, groups = load_class_images(few, seed=0, data_dir=tmp_path / "data")
    assert groups is None
    assert [tuple(part.shape) for part in sets] == [(count, 4, 3, 84, 84) for count in (3, 2, 2)]
    assert sets.train.dtype == torch.uint8
    means = torch.cat(list(sets)).double().mean((-1, -2))
    for label in range(7):
        for number in range(4):
            expected = torch.tensor([30 * label + 10, 50 * number + 20, 200], dtype=torch.float64)
            assert (means[label, number] - expected).abs().max() < 4


def test_images_of_the_right_size_are_kept_to_the_byte(tmp_path: Path) -> None:
    arrays = convert("mini_imagenet", originals(tmp_path, zipped=False))
    first, last = arrays["offsets"][5], arrays["offsets"][6]  # class 1, image 1
    assert arrays["data"][first:last].tobytes() == encoded(picture(1, 1))
    assert arrays["labels"].tolist() == np.repeat(np.arange(7), 4).tolist()
    assert arrays["class_split"].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert arrays["image_names_utf8"].tobytes().decode().split("\n")[5] == "n0000000100000001"


def test_two_files_with_a_part_of_the_classes_each(tmp_path: Path, few: MiniImagenet) -> None:
    arrays = convert("mini_imagenet", originals(tmp_path, zipped=False))
    whole, pair = tmp_path / "whole", tmp_path / "pair"
    whole.mkdir()
    pair.mkdir()
    np.savez(whole / "mini-imagenet-84.npz", **arrays)
    cut = int(arrays["offsets"][12])
    first, rest = ENTRIES["mini_imagenet"].files[1], "miniimagenet-84-webp75-valtest.npz"
    shared = {name: arrays[name] for name in ("class_wnids", "class_split")}
    halves = {
        first: (arrays["data"][:cut], arrays["offsets"][:13], arrays["labels"][:12]),
        rest: (arrays["data"][cut:], arrays["offsets"][12:] - cut, arrays["labels"][12:]),
    }
    for name, (data, offsets, labels) in halves.items():
        np.savez(pair / name, data=data, offsets=offsets, labels=labels, **shared)
    found, expected = (load_mini_imagenet(few, data_dir=folder) for folder in (pair, whole))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    (pair / rest).unlink()
    with pytest.raises(DataMissing, match=rf"{first} is there without {rest}"):
        require(few, pair)


def test_a_missing_file_is_not_offered_for_download(tmp_path: Path) -> None:
    with pytest.raises(DataMissing) as caught:
        require(MiniImagenet(), tmp_path)
    assert "make it from files you have with `bilevel data prepare mini_imagenet --from train.csv" in str(caught.value)
    assert "--download" not in str(caught.value)


def test_originals_that_lack_an_image_or_mix_up_the_lists_are_refused(tmp_path: Path, few: MiniImagenet) -> None:
    *lists, images = originals(tmp_path, zipped=False)
    bad = tmp_path / "bad.csv"
    bad.write_text("label,filename\n")
    with pytest.raises(DataInvalid, match="a class is in two lists"):
        convert("mini_imagenet", [lists[0], lists[0], lists[2], images])
    with pytest.raises(DataInvalid, match=r"not the whole of mini_imagenet: .*\(2, 3, 2\) classes"):
        prepare("mini_imagenet", [lists[1], lists[0], lists[2], images], tmp_path / "data")
    with pytest.raises(DataInvalid, match="is not a list `filename,label`"):
        convert("mini_imagenet", [bad, *lists[1:], images])
    (images / "deep" / "n0000000000000002.jpg").write_bytes(b"not an image")
    with pytest.raises(DataInvalid, match=r"n0000000000000002\.jpg is not a readable image"):
        convert("mini_imagenet", [*lists, images])
    (images / "deep" / "n0000000000000002.jpg").unlink()
    with pytest.raises(DataInvalid, match=r"has no image n0000000000000002\.jpg"):
        convert("mini_imagenet", [*lists, images])
    with pytest.raises(DataInvalid, match="neither a folder nor a readable zip file"):
        convert("mini_imagenet", [*lists, lists[0]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda arrays: arrays | {"labels": np.zeros_like(arrays["labels"])}, "class 0 has 28 images, not 4"),
        (lambda arrays: arrays | {"offsets": arrays["offsets"] + 1}, "the offsets do not fit the data"),
        (lambda arrays: arrays | {"offsets": arrays["offsets"][:-1]}, r"array offsets has shape \(28,\), not \(29\)"),
        (lambda arrays: arrays | {"data": arrays["data"][::-1]}, "image 0 cannot be read"),
    ],
)
def test_a_damaged_file_is_refused(
    tmp_path: Path,
    few: MiniImagenet,
    damage: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    message: str,
) -> None:
    arrays = convert("mini_imagenet", originals(tmp_path, zipped=False))
    np.savez(tmp_path / "mini-imagenet-84.npz", **damage(arrays))
    with pytest.raises(DataInvalid, match=message):
        load_mini_imagenet(few, data_dir=tmp_path)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(DataInvalid, match="image 3 has 80 x 84 pixels, not 84 x 84"):
        decode(encoded(picture(0, 0, (80, 84)), "WEBP"), 84, "image 3")


def test_grey_images_get_three_channels() -> None:
    pixels = decode(encoded(picture(1, 1).convert("L")), 84, "grey")
    assert pixels.shape == (3, 84, 84)
    assert (pixels[0] == pixels[2]).all()


@pytest.mark.data
def test_the_published_lists_are_recognized(data_dir: Path) -> None:
    """The digest of the catalogue is of the classes and names in Ravi and Larochelle's lists."""
    entry = ENTRIES["mini_imagenet"]
    if not (data_dir / entry.files[1]).is_file():
        pytest.skip(f"no {entry.files[1]}")
    arrays: dict[str, np.ndarray] = {}
    labels, names = [], []
    for name in (entry.files[1], entry.rest[entry.files[1]]):
        with np.load(data_dir / name) as part:
            labels.append(part["labels"])
            names.append(zlib.decompress(part["image_names_zlib"].tobytes()))
            arrays |= {key: part[key] for key in ("class_wnids", "class_split")}
    arrays |= {"labels": np.concatenate(labels), "image_names_utf8": np.frombuffer(b"\n".join(names), dtype=np.uint8)}
    assert content_digest(arrays, entry.identity) == entry.content
    assert np.bincount(arrays["class_split"]).tolist() == list(MiniImagenet().class_counts())


@pytest.mark.data
def test_real_images_are_colourful(data_dir: Path) -> None:
    part = mini_imagenet._read(data_dir / ENTRIES["mini_imagenet"].files[1])
    images = np.stack([decode(part.files[row], 84, "") for row in range(0, 38_400, 600)]).astype(float)
    assert 80 < images.mean() < 160
    assert images.std((0, 2, 3)).min() > 40
    assert np.abs(images[:, 0] - images[:, 2]).mean() > 10
