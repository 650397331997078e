"""A folder of files named by the SHA-256 of what is in them: checkpoints and artifacts."""

import contextlib
import hashlib
import os
import re
import time
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from core.errors import BlobInvalid

STALE_SECONDS = 24 * 3600.0
"""A file that nothing refers to after this long was left by a process that died."""


class Blob(NamedTuple):
    """What a file is known by."""

    sha256: str
    size: int


class Blobs:
    """Content-addressed files under a folder that API and workers share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._aside = folder / "aside"

    def put(self, content: bytes) -> Blob:
        """Keeps the content; when this returns, it survives a power cut. Safe to repeat and to race."""
        blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
        target = self.path(blob.sha256)
        if target.exists() and target.stat().st_size == blob.size:
            with contextlib.suppress(FileNotFoundError):
                os.utime(target)  # young again, so that it is not taken for forgotten before somebody refers to it
                return blob
        for folder in (self._aside, target.parent):
            folder.mkdir(parents=True, exist_ok=True)
        aside = self._aside / uuid4().hex
        try:
            with aside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(target)
        finally:
            aside.unlink(missing_ok=True)  # it is still there only after an error, such as a full disk
        _sync(target.parent)
        return blob

    def get(self, sha256: str) -> bytes:
        """The content.

        Raises:
            FileNotFoundError: there is no such file.
            BlobInvalid: it is not what its name says.
        """
        content = self.path(sha256).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BlobInvalid(f"The file {sha256[:12]}… in the storage folder {self._folder} is damaged.")
        return content

    def path(self, sha256: str) -> Path:
        """Where the file is, or would be."""
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError(f"not a SHA-256: {sha256!r}")
        return self._folder / sha256[:2] / sha256

    def remove(self, sha256: str) -> None:
        """Removes the file, if it is there."""
        self.path(sha256).unlink(missing_ok=True)

    def stale(self) -> set[str]:
        """Hashes of the files that are old enough to have been forgotten; removes old half-written ones."""
        oldest = time.time() - STALE_SECONDS
        old = [file for file in self._folder.glob("*/*") if file.stat().st_mtime < oldest]
        for file in old:
            if file.parent == self._aside:
                file.unlink(missing_ok=True)
        return {file.name for file in old if file.parent != self._aside}


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
