"""`bilevel up`: Postgres, Redis, migrations, API and worker on this machine, under one supervisor."""

import http.client
import ipaddress
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.settings import Settings, child_environment
from core.spec.plugins import LEFT_OUT
from local import postgres, redis
from local.home import Home, Refused, held
from local.processes import Service
from local.supervisor import Supervisor, reclaim

PACKAGES = Path(__file__).resolve().parent.parent
"""The folder of the packages `api`, `worker` and `migrations`: where `python -m` is to look for them first."""


def up(settings: Settings, *, home: Path, host: str, port: int, say: Callable[[str], None]) -> None:
    """Runs the whole service until SIGINT or SIGTERM.

    Args:
        settings: the knobs; where they name a database or a broker, none is started here.
        home: folder of everything that is kept.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        say: takes each line of news.

    Raises:
        Refused: it cannot start, or a part of it keeps dying.
    """
    _check_exposure(host, settings)
    house = Home(home.expanduser().resolve())
    house.make()
    with held(house):
        reclaim(house, say, grace=settings.grace_seconds + 10)
        with _listening(host, port) as listener:
            supervisor = Supervisor(house, _address(listener), say)
            supervisor.listen()
            try:
                _start(supervisor, settings, listener)
                supervisor.watch()
            finally:
                say("stopping ...")
                supervisor.stop()
    say("stopped; nothing is left running")


def _check_exposure(host: str, settings: Settings) -> None:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if not key and not _is_loopback(host):
        raise Refused(f"{host} can be reached by others: set BILEVEL_API_KEY to a secret, or listen on 127.0.0.1")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """The API's socket. It is ours, so that it stays open while an API that died is started again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise Refused(
            f"cannot listen on {host} port {port} ({error.strerror}): stop what uses it, or give another --port "
            "(0 takes a free one)"
        ) from None
    with listener:
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _start(supervisor: Supervisor, settings: Settings, listener: socket.socket) -> None:
    home, say = supervisor.home, supervisor.say
    say(f"data      {home.path}  (logs in {home.path / 'logs'})")
    home.make_sockets(postgres.owner(home))
    database_url = settings.database_url.get_secret_value() or _start_postgres(supervisor)
    broker_url = settings.broker_url.get_secret_value() or _start_redis(supervisor)
    storage = settings.storage_dir if "storage_dir" in settings.model_fields_set else home.storage
    environment = child_environment(
        DATABASE_URL=database_url,
        BROKER_URL=broker_url,
        BILEVEL_STORAGE_DIR=str(storage.expanduser().resolve()),
        BILEVEL_DATA_DIR=str(settings.data_dir.expanduser().resolve()),
        BILEVEL_SLOTS=str(settings.slots),
    )
    if supervisor.stopping:
        return
    _migrate(environment)
    supervisor.start(_worker(home, environment, settings))
    api = _api(home, environment, listener)
    said_before = api.log.stat().st_size if api.log.exists() else 0
    supervisor.start(api)
    for line in _left_out(api.log, said_before):
        say(line)
    if not supervisor.stopping:
        say(f"data sets {settings.data_dir}")
        say(f"dashboard {supervisor.url}/ui/")
        say(f"API       {supervisor.url}  (documentation at {supervisor.url}/docs)")
        say("ready; Ctrl-C stops everything")


def _start_postgres(supervisor: Supervisor) -> str:
    home = supervisor.home
    binaries = postgres.choose(home)
    postgres.prepare(home, binaries, child_environment(), supervisor.say)
    supervisor.start(postgres.service(home, binaries, child_environment()))
    supervisor.say(f"Postgres  {binaries.version}, embedded")
    return postgres.url(home)


def _start_redis(supervisor: Supervisor) -> str:
    home = supervisor.home
    service = redis.service(home, child_environment())
    supervisor.start(service)
    supervisor.say(f"Redis     {service.command[0]}")
    return redis.url(home)


def _migrate(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "migrations"]
    done = subprocess.run(command, env=environment, cwd=PACKAGES, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused("the database could not be migrated:\n" + "\n".join(done.stderr.strip().splitlines()[-5:]))


def _api(home: Home, environment: dict[str, str], listener: socket.socket) -> Service:
    return Service(
        name="api",
        command=[sys.executable, "-m", "api", "--fd", str(listener.fileno())],
        environment=environment,
        log=home.log("api"),
        ready=_api_ready(listener),
        folder=PACKAGES,
        descriptors=(listener.fileno(),),
        hopeless=2,
    )


def _left_out(log: Path, said_before: int) -> list[str]:
    """The API's warnings of packages that cannot be used, after the first bytes of its log."""
    with log.open("rb") as file:
        file.seek(said_before)
        said = file.read().decode(errors="replace")
    return [line for line in said.splitlines() if LEFT_OUT in line]


def _api_ready(listener: socket.socket) -> Callable[[], bool]:
    host, port = listener.getsockname()[:2]
    reached_by = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)

    def ready() -> bool:
        connection = http.client.HTTPConnection(reached_by, port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    return ready


def _worker(home: Home, environment: dict[str, str], settings: Settings) -> Service:
    return Service(
        name="worker",
        command=[sys.executable, "-m", "worker"],
        environment=environment,
        log=home.log("worker"),
        grace=settings.grace_seconds + 10,  # its children write checkpoints
        folder=PACKAGES,
        hopeless=2,
    )
