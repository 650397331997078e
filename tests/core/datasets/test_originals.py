import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets.originals import convert
from core.datasets.originals.idx import read_idx
from core.datasets.originals.omniglot_zips import omniglot, shrink
from core.datasets.originals.tabular_text import COLUMNS
from core.errors import DataInvalid


def idx(array: np.ndarray, path: Path, *, zipped: bool = True) -> Path:
    content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_mnist_from_idx_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (5, 3)]
    labels = [random.integers(0, 10, n, dtype=np.uint8) for n in (5, 3)]
    files = [
        idx(images[0], tmp_path / "a.gz"),
        idx(labels[0], tmp_path / "b", zipped=False),
        idx(images[1], tmp_path / "c.gz"),
        idx(labels[1], tmp_path / "d.gz"),
    ]
    arrays = convert("mnist", files)
    published = {"x_train": images[0], "y_train": labels[0], "x_test": images[1], "y_test": labels[1]}
    for name, expected in published.items():
        np.testing.assert_array_equal(arrays[name], expected)
        assert arrays[name].dtype == np.uint8
    with pytest.raises(DataInvalid, match="check the order of the files"):
        convert("mnist", [files[1], files[0], *files[2:]])
    with pytest.raises(DataInvalid, match="3 labels for 5 images"):
        convert("mnist", [files[0], files[3], files[2], files[1]])


def test_a_truncated_idx_file_is_refused(tmp_path: Path) -> None:
    path = idx(np.zeros((4, 2, 2), np.uint8), tmp_path / "a", zipped=False)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataInvalid, match="15 bytes"):
        read_idx(path, 3)
    zipped = idx(np.zeros((4, 2, 2), np.uint8), tmp_path / "b.gz")
    zipped.write_bytes(zipped.read_bytes()[:-12])
    with pytest.raises(DataInvalid, match="cannot be read"):
        read_idx(zipped, 3)


def test_binary_libsvm_text(tmp_path: Path) -> None:
    train = text(tmp_path / "a9a", "-1 3:1 11:1 \n+1 123:1\n-1\n")
    test = text(tmp_path / "a9a.t", "+1 1:1\n")
    arrays = convert("a9a", [train, test])
    assert arrays["a9a_indices"].tolist() == [2, 10, 122]
    assert arrays["a9a_indptr"].tolist() == [0, 2, 3, 3]
    assert arrays["a9a_shape"].tolist() == [3, 123]
    assert arrays["a9a_y"].tolist() == [-1, 1, -1]
    assert arrays["a9a_t_shape"].tolist() == [1, 123]
    assert [arrays[f"a9a_{name}"].dtype for name in ("indices", "indptr", "shape", "y")] == ["u2", "i4", "i4", "i1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 301:1", "line 2: labels are -1 and 1, indices 1 to 300"),
        ("1 0:1", "line 2: labels are -1 and 1, indices 1 to 300"),
        ("2 1:1", "line 2: labels are -1 and 1"),
        ("1 1:0.5", "line 2: a value is not 1"),
        ("1 one", "line 2: not `label index:value ...`"),
        ("", "line 2: not `label index:value ...`"),
        ("1 ä:1", "not a LIBSVM text file"),
    ],
)
def test_wrong_libsvm_text_is_refused_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w8a"
    path.write_text(f"1 1:1\n{line}\n1 1:1\n", encoding="utf-8")
    with pytest.raises(DataInvalid) as caught:
        convert("w8a", [path])
    assert message in str(caught.value)


def test_german_credit_fills_what_a_line_leaves_out(tmp_path: Path) -> None:
    arrays = convert("german", [text(tmp_path / "g", "-1 1:-1 3:0.25\n1 24:0.941176\n")])
    assert arrays["german_X"].shape == (2, 24)
    assert arrays["german_X"].dtype == np.float32
    assert arrays["german_X"][0, :3].tolist() == [-1, 0, 0.25]
    assert arrays["german_y"].tolist() == [-1, 1]
    with pytest.raises(DataInvalid, match=r"take german\.numer_scale"):
        convert("german", [text(tmp_path / "h", "1 1:6\n")])


def test_housing_csv(tmp_path: Path) -> None:
    header = ",".join((*COLUMNS, "median_house_value", "ocean_proximity"))
    good = text(
        tmp_path / "h.csv",
        f"{header}\n-122.2,37.9,41,880,129,322,126,8.3,452600.0,NEAR BAY\n-1,2,3,4,,6,7,8,5e4,INLAND\n",
    )
    arrays = convert("housing", [good])
    assert arrays["housing_X"][0].tolist() == [-122.2, 37.9, 41, 880, 129, 322, 126, 8.3]
    assert np.isnan(arrays["housing_X"][1]).tolist() == [False] * 4 + [True] + [False] * 3
    assert arrays["housing_y"].tolist() == [452600, 50000]
    assert arrays["housing_ocean_names"][arrays["housing_ocean"]].tolist() == ["NEAR BAY", "INLAND"]
    with pytest.raises(DataInvalid, match="line 2: not 10 cells with one of <1H OCEAN, INLAND"):
        convert("housing", [text(tmp_path / "i.csv", good.read_text().replace("NEAR BAY", "MOON"))])
    with pytest.raises(DataInvalid, match="line 3: could not convert"):
        convert("housing", [text(tmp_path / "l.csv", good.read_text().replace("5e4", "dear"))])
    with pytest.raises(DataInvalid, match="no column population"):
        convert("housing", [text(tmp_path / "j.csv", good.read_text().replace("population", "people"))])
    with pytest.raises(DataInvalid, match="is empty"):
        convert("housing", [text(tmp_path / "k.csv", "")])


def test_magic_data(tmp_path: Path) -> None:
    arrays = convert("magic", [text(tmp_path / "m", "1,2,3,4,5,6,7,8,9,10.5,g\n" + "0," * 10 + "h\n")])
    assert arrays["magic_X"][0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10.5]
    assert arrays["magic_y"].tolist() == [True, False]
    assert (arrays["magic_X"].dtype, arrays["magic_y"].dtype) == (np.float32, np.bool_)
    with pytest.raises(DataInvalid, match="line 1: not ten numbers and g or h"):
        convert("magic", [text(tmp_path / "n", "1,2,g\n")])


def test_newsgroups_archive(tmp_path: Path) -> None:
    postings = {
        "20news-bydate-train/sci.space/2": b"Moon moon rocket",
        "20news-bydate-train/alt.atheism/10": b"no god \xe9t\xe9",
        "20news-bydate-train/alt.atheism/9": b"god a god",
        "20news-bydate-test/sci.space/7": b"rocket unseen moon rocket",
    }
    path = tmp_path / "20news.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("20news-bydate-train/sci.space"))
        for name, content in postings.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    arrays = convert("20news", [path])
    words = arrays["vocabulary_utf8"].tobytes().decode().split("\n")
    assert words == ["god", "moon", "no", "rocket", "été"]
    assert arrays["train_files"].tolist() == ["alt.atheism/10", "alt.atheism/9", "sci.space/2"]
    assert arrays["y_train"].tolist() == [0, 0, 1]
    assert arrays["y_test"].tolist() == [1]
    assert arrays["train_shape"].tolist() == [3, 5]
    assert arrays["train_data"].tolist() == [1, 1, 1, 2, 2, 1]
    assert arrays["test_indices"].tolist() == [1, 3]
    assert arrays["test_data"].tolist() == [1, 2]


def drawing(seed: int) -> Image.Image:
    """105x105, one bit: paper is 1 and a stroke is 0, as in the original."""
    paper = np.ones((105, 105), dtype=bool)
    top = 10 + 5 * (seed % 12)
    paper[top : top + 8, 15:90] = False
    return Image.fromarray(paper)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def archive(path: Path, characters: list[str], images: int = 20) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(f"__MACOSX/{path.stem}/{characters[0]}/0001_01.png", b"not an image")
        for index, name in enumerate(characters):
            for drawer in range(images, 0, -1):
                out.writestr(f"{path.stem}/{name}/{index + 1:04d}_{drawer:02d}.png", png(drawing(index + drawer)))
    return path


def test_omniglot_zips(tmp_path: Path) -> None:
    background = archive(tmp_path / "images_background.zip", ["Latin/character02", "Greek/character01"])
    evaluation = archive(tmp_path / "images_evaluation.zip", ["Atlantean/character10"])
    arrays = convert("omniglot", [background, evaluation])
    assert arrays["names"].tolist() == ["Greek/character01", "Latin/character02", "Atlantean/character10"]
    assert arrays["background"].tolist() == [True, True, False]
    assert arrays["character"].tolist() == [1, 2, 10]
    assert arrays["file_id"].tolist() == [2, 1, 1]
    assert arrays["alphabet_names"][arrays["alphabet"]].tolist() == ["Greek", "Latin", "Atlantean"]
    assert arrays["alphabet_background"].tolist() == [True, True, False]
    assert arrays["images"].shape == (3, 20, 28, 28)
    np.testing.assert_array_equal(arrays["images"][1, 6], shrink(png(drawing(7))))  # index 0, drawer 7
    assert "vinyals_split" not in arrays


def test_ink_is_bright_and_edges_are_grey() -> None:
    image = shrink(png(drawing(0)))  # a stroke of rows 10-17 and columns 15-89 of 105
    assert image.dtype == np.uint8
    assert image[3, 14] == 255
    assert image[20, 14] == 0
    assert len(np.unique(image)) > 3
    assert image.mean() / 255 == pytest.approx(8 * 75 / 105**2, rel=0.05)


def test_the_lists_of_vinyals(tmp_path: Path) -> None:
    background = archive(tmp_path / "images_background.zip", ["Latin/character02", "Greek/character01"])
    evaluation = archive(tmp_path / "images_evaluation.zip", ["Atlantean/character10"])
    lists = [
        text(tmp_path / "train.txt", "Greek/character01/rot000\nGreek/character01/rot090\n"),
        text(tmp_path / "val.txt", "Atlantean/character10\n"),
        text(tmp_path / "test.txt", "Latin/character02/rot000\n"),
    ]
    arrays = omniglot(background, evaluation, lists[::-1])  # known by name, not by order
    assert arrays["vinyals_split"].tolist() == [0, 2, 1]
    assert arrays["vinyals_split"].dtype == np.int8
    with pytest.raises(DataInvalid, match="three lists together"):
        omniglot(background, evaluation, lists[:2])
    text(lists[1], "")
    with pytest.raises(DataInvalid, match="do not fit the images: Atlantean/character10"):
        omniglot(background, evaluation, lists)
    text(lists[1], "Atlantean/character10\nGreek/character01\n")
    with pytest.raises(DataInvalid, match="in two lists"):
        omniglot(background, evaluation, lists)


def test_an_incomplete_omniglot_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "images_background.zip", ["Greek/character01"])
    part = archive(tmp_path / "images_evaluation.zip", ["Latin/character01"], images=19)
    with pytest.raises(DataInvalid, match="Latin/character01 does not have 20 images"):
        omniglot(whole, part, [])
    part.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(DataInvalid, match="not a readable zip file"):
        omniglot(whole, part, [])


def test_files_that_are_too_few_too_many_or_not_there_are_refused(tmp_path: Path) -> None:
    path = text(tmp_path / "a", "")
    with pytest.raises(DataInvalid, match=r"a9a is made from a9a a9a\.t in this order; 1 files given"):
        convert("a9a", [path])
    with pytest.raises(DataInvalid, match="3 files given"):
        convert("a9a", [path] * 3)
    with pytest.raises(DataInvalid, match="gone is not a file"):
        convert("w8a", [tmp_path / "gone"])


@pytest.mark.data
def test_original_omniglot_images_become_the_prepared_ones(data_dir: Path) -> None:
    if not (data_dir / "omniglot-105-bits.npz").is_file():
        pytest.skip("no omniglot-105-bits.npz")
    with np.load(data_dir / "omniglot-105-bits.npz") as originals, np.load(data_dir / "omniglot-28.npz") as prepared:
        bits, images = originals["bits"], prepared["images"]
    for character in range(0, 1623, 60):
        for drawer in (0, 9, 19):
            ink = np.unpackbits(bits[character, drawer], count=105 * 105).reshape(105, 105)
            original = png(Image.fromarray(ink == 0))
            np.testing.assert_array_equal(shrink(original), images[character, drawer])
