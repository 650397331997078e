"""The folder in which `bilevel up` keeps everything: who uses it now, and what the last one left running."""

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SOCKET_PATH_LIMIT = 90
"""Longest path of a folder with Unix sockets; the system allows 104 to 108 bytes for folder and name."""
SEPARATORS = frozenset(',"')
"""Characters with which Postgres takes a path for several."""
LOG_LIMIT = 16 * 2**20
"""Bytes above which a log is set aside at the next start."""


class Refused(Exception):
    """Cannot start; the message says why and what to do."""


class Home(NamedTuple):
    """Paths of one installation of `bilevel up`."""

    path: Path

    @property
    def postgres(self) -> Path:
        """Postgres's data."""
        return self.path / "postgres"

    @property
    def redis(self) -> Path:
        """Redis's working folder; it writes nothing there."""
        return self.path / "redis"

    @property
    def storage(self) -> Path:
        """Checkpoints and artifacts."""
        return self.path / "storage"

    @property
    def sockets(self) -> Path:
        """The Unix sockets of Postgres and Redis; in the temporary folder where a socket's path could not be ours."""
        near = self.path / "sockets"
        if len(os.fsencode(near)) <= SOCKET_PATH_LIMIT and not SEPARATORS & set(str(near)):
            return near
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"bilevel-{os.getuid()}-{digest}"

    @property
    def processes(self) -> Path:
        """What is running: written at each start of a process, read by the next `bilevel up`."""
        return self.path / "processes.json"

    def log(self, name: str) -> Path:
        """The log of one process; a long one is set aside first."""
        path = self.path / "logs" / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".old.log"))
        return path

    def make(self) -> None:
        """Makes the folder and those below it that belong to us alone.

        Raises:
            Refused: one cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.redis, self.storage, self.path / "logs"):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Refused(f"cannot make the folder {error.filename}: {error.strerror}; give another --home") from error

    def make_sockets(self, owner: int | None) -> None:
        """Makes the folder of sockets, empty, for the user `owner` (by default us) alone.

        Raises:
            Refused: something else is there.
        """
        owner = os.getuid() if owner is None else owner
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        found = self.sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), owner):
            raise Refused(f"{self.sockets} belongs to somebody else: remove it, or give a --home with a shorter path")
        if found.st_uid != owner:
            os.chown(self.sockets, owner, -1)
        self.sockets.chmod(0o700)
        for left in self.sockets.iterdir():  # by servers that were killed
            left.unlink()


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Holds the home for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        Refused: another process holds it.
    """
    with (home.path / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{home.path} is in use by {_holder(home)}: stop that one, or give another --home") from None
        yield


def _holder(home: Home) -> str:
    content = read_processes(home)
    if not content:
        return "another `bilevel up` that is just starting"
    return f"another `bilevel up` (process {content['supervisor']}, {content['url']})"


def read_processes(home: Home) -> dict[str, Any]:
    """What `write_processes` wrote last; empty if there is nothing."""
    if not home.processes.exists():
        return {}
    content: dict[str, Any] = json.loads(home.processes.read_text())
    return content


def write_processes(home: Home, content: dict[str, Any]) -> None:
    """Replaces the record of what is running, in one step."""
    aside = home.processes.with_suffix(".new")
    aside.write_text(json.dumps(content, indent=1))
    aside.replace(home.processes)
