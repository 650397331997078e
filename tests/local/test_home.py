import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.home import LOG_LIMIT, Home, Refused, held, read_processes, write_processes


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def test_a_home_is_closed_to_others(home: Home) -> None:
    assert home.path.stat().st_mode & 0o077 == 0
    assert home.storage.is_dir()
    assert home.redis.is_dir()


def test_a_home_is_held_by_one_process(home: Home) -> None:
    with held(home):
        with pytest.raises(Refused, match="just starting"), held(home):
            pass
        write_processes(home, {"supervisor": 12, "url": "http://127.0.0.1:1", "processes": []})
        with pytest.raises(
            Refused, match=r"process 12, http://127\.0\.0\.1:1\): stop that one, or give another --home"
        ):
            held(home).__enter__()
    with held(home):
        pass


def test_a_killed_process_lets_go(home: Home) -> None:
    script = f"""
import time
from pathlib import Path
from local.home import Home, held
with held(Home(Path({str(home.path)!r}))):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Refused):
            held(home).__enter__()
        process.kill()
    with held(home):
        pass


def test_the_record_is_replaced_whole(home: Home) -> None:
    assert read_processes(home) == {}
    write_processes(home, {"processes": [1]})
    write_processes(home, {"processes": [2]})
    assert read_processes(home) == {"processes": [2]}


def test_sockets_of_a_long_home_are_elsewhere(tmp_path: Path) -> None:
    near, far = Home(Path("/short")), Home(tmp_path / ("long" * 30))
    assert near.sockets == Path("/short/sockets")
    assert Home(Path("/a,b")).sockets.parent == far.sockets.parent
    assert len(str(far.sockets)) < 90
    assert far.sockets != Home(tmp_path / ("gone" * 30)).sockets
    far.make()
    far.make_sockets(None)
    (far.sockets / "left.sock").touch()
    far.make_sockets(None)
    assert list(far.sockets.iterdir()) == []
    far.sockets.rmdir()


def test_a_link_in_place_of_the_sockets_is_refused(home: Home, tmp_path: Path) -> None:
    home.sockets.symlink_to(tmp_path)
    with pytest.raises(Refused, match="belongs to somebody else"):
        home.make_sockets(os.getuid())


def test_a_long_log_is_set_aside(home: Home) -> None:
    log = home.log("api")
    log.write_bytes(b"short")
    assert home.log("api").read_bytes() == b"short"
    log.write_bytes(bytes(LOG_LIMIT + 1))
    assert not home.log("api").exists()
    assert (home.path / "logs/api.old.log").stat().st_size == LOG_LIMIT + 1


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match=r"cannot make the folder .*/file/home: .*give another --home"):
        Home(tmp_path / "file" / "home").make()
