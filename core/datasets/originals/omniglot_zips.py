"""images_background.zip and images_evaluation.zip: SET/ALPHABET/characterNN/FFFF_DD.png, 105x105, one bit a pixel."""

import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from core.datasets.prepared import Array
from core.errors import DataInvalid

SIDE, DRAWERS = 28, 20
_MEMBER = re.compile(r"(?:.*/)?([^/]+)/character(\d+)/(\d+)_(\d+)\.png")


class Character(NamedTuple):
    """One class; sorts by set (background first), alphabet and number."""

    evaluation: bool
    alphabet: str
    number: int
    file_id: int

    @property
    def name(self) -> str:
        """Alphabet/characterNN."""
        return f"{self.alphabet}/character{self.number:02d}"


def omniglot(background: Path, evaluation: Path, lists: Sequence[Path]) -> dict[str, Array]:
    """Arrays of omniglot-28.npz; `lists` are train.txt, val.txt and test.txt of the split `vinyals`, or none.

    Without the lists there is no array `vinyals_split`, and a spec that asks for that split is refused.
    """
    images = _read(background, evaluation=False) | _read(evaluation, evaluation=True)
    characters = sorted(images)
    alphabets = {character.alphabet: not character.evaluation for character in characters}
    position = {alphabet: index for index, alphabet in enumerate(alphabets)}
    names = [character.name for character in characters]
    arrays: dict[str, Array] = {
        "images": np.stack([images[character] for character in characters]),
        "alphabet": np.array([position[character.alphabet] for character in characters], dtype=np.uint8),
        "alphabet_names": np.array(list(alphabets)),
        "alphabet_background": np.array(list(alphabets.values())),
        "character": np.array([character.number for character in characters], dtype=np.uint8),
        "background": np.array([not character.evaluation for character in characters]),
        "names": np.array(names),
        "file_id": np.array([character.file_id for character in characters], dtype=np.int16),
    }
    return arrays | {"vinyals_split": split_of(names, lists)} if lists else arrays


def _read(path: Path, *, evaluation: bool) -> dict[Character, Array]:
    """The images [20, 28, 28] of each character in a zip file."""
    images: dict[Character, Array] = {}
    drawn: dict[Character, int] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.startswith("__MACOSX/") or not (match := _MEMBER.fullmatch(name)):
                    continue
                alphabet, number, file_id, drawer = match[1], *map(int, match.groups()[1:])
                if not 1 <= drawer <= DRAWERS:
                    raise DataInvalid(f"{path}: {name}: drawers are numbered 1 to {DRAWERS}")
                character = Character(evaluation, alphabet, number, file_id)
                stack = images.setdefault(character, np.zeros((DRAWERS, SIDE, SIDE), dtype=np.uint8))
                stack[drawer - 1] = shrink(archive.read(name))
                drawn[character] = drawn.get(character, 0) + 1
    except (OSError, zipfile.BadZipFile, zlib.error, UnidentifiedImageError) as error:
        raise DataInvalid(f"{path} is not a readable zip file of PNG images: {error}") from error
    incomplete = [character.name for character, count in drawn.items() if count != DRAWERS]
    if incomplete or not images:
        what = f"{incomplete[0]} does not have {DRAWERS} images" if incomplete else "has no characters"
        raise DataInvalid(f"{path}: {what}: take images_background.zip and images_evaluation.zip, whole")
    return images


def shrink(png: bytes) -> Array:
    """A 1-bit PNG (paper 1, ink 0) as 28x28 grey with ink 255, antialiased (Lanczos on 8-bit grey)."""
    with Image.open(io.BytesIO(png)) as image:
        ink = image.convert("L").point(lambda grey: 255 - grey)
    return np.asarray(ink.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def split_of(names: Sequence[str], lists: Sequence[Path]) -> Array:
    """For each character 0, 1 or 2: in the list for meta-training, -validation or -test.

    A list has a line `Alphabet/characterNN` or `Alphabet/characterNN/rotDDD` for each class.
    """
    part: dict[str, int] = {}
    for index, word in enumerate(("train", "val", "test")):
        found = [path for path in lists if word in path.stem]
        if len(found) != 1:
            raise DataInvalid("the split `vinyals` needs its three lists together: train.txt val.txt test.txt")
        for line in found[0].read_text().split():
            name = "/".join(line.split("/")[:2])
            if part.setdefault(name, index) != index:
                raise DataInvalid(f"{found[0]}: {name} is in two lists")
    missing, unknown = set(names) - part.keys(), part.keys() - set(names)
    if missing or unknown:
        raise DataInvalid(f"the lists of the split `vinyals` do not fit the images: {min(missing | unknown)}")
    return np.array([part[name] for name in names], dtype=np.int8)
