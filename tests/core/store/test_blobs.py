"""Files named by their hash."""

import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import BlobInvalid
from core.store.blobs import STALE_SECONDS, Blobs


@pytest.fixture
def blobs(storage_dir):
    return Blobs(storage_dir)


def test_what_is_put_can_be_got(blobs):
    blob = blobs.put(b"content")
    assert blob.size == 7
    assert blobs.get(blob.sha256) == b"content"
    assert blobs.put(b"content") == blob


def test_many_put_the_same_at_once(blobs, storage_dir):
    with ThreadPoolExecutor(8) as pool:
        put = set(pool.map(blobs.put, [b"x" * 100_000] * 32))
    (blob,) = put
    assert blobs.get(blob.sha256) == b"x" * 100_000
    assert list((storage_dir / "aside").iterdir()) == []


def test_what_could_not_be_written_takes_no_place(blobs, storage_dir):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as on a full disk, the write ends half way
    try:
        with pytest.raises(OSError, match="File too large"):
            blobs.put(b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path for path in storage_dir.rglob("*") if path.is_file()] == []


def test_a_damaged_file_is_noticed(blobs):
    blob = blobs.put(b"content")
    blobs.path(blob.sha256).write_bytes(b"c0ntent")
    with pytest.raises(BlobInvalid, match="damaged"):
        blobs.get(blob.sha256)


def test_a_cut_file_is_replaced(blobs):
    blob = blobs.put(b"content")
    blobs.path(blob.sha256).write_bytes(b"con")
    blobs.put(b"content")
    assert blobs.get(blob.sha256) == b"content"


def test_a_missing_file_is_noticed(blobs):
    blob = blobs.put(b"content")
    blobs.remove(blob.sha256)
    blobs.remove(blob.sha256)
    with pytest.raises(FileNotFoundError):
        blobs.get(blob.sha256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "AB" * 32, "", "ab" * 31])
def test_only_hashes_name_files(blobs, name):
    with pytest.raises(ValueError, match="SHA-256"):
        blobs.path(name)


def test_half_written_files_that_are_old_are_removed(blobs, storage_dir):
    blob = blobs.put(b"content")
    old, new = storage_dir / "aside/old", storage_dir / "aside/new"
    for file in (old, new):
        file.write_bytes(b"half")
    assert blobs.stale() == set()
    for file in (old, blobs.path(blob.sha256)):
        os.utime(file, (time.time() - STALE_SECONDS - 1,) * 2)
    assert blobs.stale() == {blob.sha256}
    assert new.exists()
    assert not old.exists()
