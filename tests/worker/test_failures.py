"""What breaks, and what comes of it: killed, stopped and cut-off processes, and the same curve to the bit."""

import os
import signal
import time
from typing import Any, NamedTuple

import psutil
import pytest
from pydantic import SecretStr

from core.checkpointing import MemoryCheckpoints
from core.errors import BrokerUnreachable
from core.queue import make_queue, ring, unheard
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
from core.status import Status

pytestmark = pytest.mark.service

HYPERITERATIONS = 60
STEPS = 60


class Undisturbed(NamedTuple):
    """A run of a few seconds that nothing disturbs, in this process."""

    spec: Experiment
    curves: dict[str, dict[int, float]]
    result: dict[str, Any]


@pytest.fixture
def undisturbed(spec, tmp_path) -> Undisturbed:
    recorder = MemoryRecorder()
    long = spec(hyperiterations=HYPERITERATIONS, steps=STEPS)
    ended = run(long, device="cpu", data_dir=tmp_path, recorder=recorder, checkpoints=MemoryCheckpoints())
    assert isinstance(ended, Finished)
    recorder.curves.pop("seconds")
    return Undisturbed(long, recorder.curves, ended.result)


def assert_same_run(service, experiment_id, undisturbed) -> None:
    """It succeeded, once, with the same curves and result to the bit."""
    end = service.wait(experiment_id)
    assert end.status is Status.SUCCEEDED, end.row.error
    assert end.outcomes.count("succeeded") == end.kinds.count("succeeded") == 1
    assert len(undisturbed.curves["outer_objective"]) == HYPERITERATIONS
    assert service.curves(experiment_id) == undisturbed.curves
    for part in ("best", "final", "test"):
        assert end.row.result[part] == undisturbed.result[part]


def wait_until_gone(processes: list[psutil.Process]) -> None:
    assert processes
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def test_a_killed_child_and_a_killed_worker_leave_the_same_run(service, undisturbed):
    disturbed = service.submit(undisturbed.spec)
    first = service.start_worker()

    service.wait_for_progress(disturbed, HYPERITERATIONS // 4)
    (child,) = service.children(first)
    child.send_signal(signal.SIGKILL)
    now = service.wait(disturbed, lambda now: len(now.attempts) == 2)
    assert (now.outcomes, now.row.losses) == (["lost", None], 1)
    assert now.attempts[0].error["code"] == "child_died"
    assert "SIGKILL" in now.attempts[0].error["message"]

    reached = now.row.hyperiteration
    service.wait_for_progress(disturbed, reached + 5)
    everybody = first.children(recursive=True)
    first.send_signal(signal.SIGKILL)
    wait_until_gone(everybody)
    assert service.story(disturbed).status is Status.RUNNING, "nobody has noticed yet"

    service.start_worker()
    now = service.wait(disturbed)
    assert now.outcomes == ["lost", "lost", "succeeded"]
    assert now.attempts[1].error["code"] == "worker_lost"
    assert_same_run(service, disturbed, undisturbed)


def test_a_worker_that_was_frozen_finds_itself_fenced(service, undisturbed):
    disturbed = service.submit(undisturbed.spec)
    first = service.start_worker()
    service.wait_for_progress(disturbed, HYPERITERATIONS // 4)
    frozen = [first, *first.children(recursive=True)]
    for process in frozen:
        process.suspend()
    second = service.start_worker()
    service.wait(disturbed, lambda now: len(now.attempts) == 2)
    for process in frozen:
        process.resume()
    assert_same_run(service, disturbed, undisturbed)
    assert service.story(disturbed).outcomes == ["lost", "succeeded"]
    for worker in (first, second):  # both are in good health
        worker.terminate()
        assert worker.wait(30) == 0


def test_a_short_outage_of_the_database_is_sat_out(service, undisturbed, database_outage):
    disturbed = service.submit(undisturbed.spec)
    service.start_worker()
    service.wait_for_progress(disturbed, HYPERITERATIONS // 4)
    with database_outage():
        time.sleep(0.5)
    assert_same_run(service, disturbed, undisturbed)
    assert service.story(disturbed).outcomes == ["succeeded"]


def test_a_long_outage_of_the_database_ends_the_attempt_but_not_the_experiment(service, spec, database_outage):
    experiment_id = service.submit(spec(hyperiterations=1_000_000))
    worker = service.start_worker()
    service.wait_for_progress(experiment_id, 10)
    children = service.children(worker)
    with database_outage():
        wait_until_gone(children)
    now = service.wait(experiment_id, lambda now: len(now.attempts) == 2)
    assert now.outcomes == ["lost", None]
    assert now.attempts[0].error["code"] in {"no_heartbeat", "worker_lost", "database_unreachable"}
    service.wait_for_progress(experiment_id, now.row.hyperiteration + 5)


def test_a_broker_that_is_down_delays_and_a_broker_that_forgot_is_rung_again(service, spec, own_redis):
    worker = service.start_worker(broker_url=SecretStr(own_redis.url))
    assert service.wait(service.submit(spec(hyperiterations=3))).status is Status.SUCCEEDED
    own_redis.stop()
    experiment_id = service.submit(spec(hyperiterations=3))
    queue = make_queue(own_redis.url)
    with pytest.raises(BrokerUnreachable):
        ring(queue)
    with pytest.raises(BrokerUnreachable):
        unheard(queue)
    time.sleep(1.0)
    assert service.story(experiment_id).status is Status.QUEUED
    own_redis.start()  # with nothing in it
    assert service.wait(experiment_id).status is Status.SUCCEEDED
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_broker_that_refuses_writes_is_waited_for(service, spec, own_redis):
    running = service.submit(spec(hyperiterations=1_000_000))
    worker = service.start_worker(slots=2, broker_url=SecretStr(own_redis.url))
    service.wait_for_progress(running, 5)
    with own_redis.client() as client:
        client.config_set("min-replicas-to-write", 1)  # refuses as a full disk does: by a ResponseError
        waiting = service.submit(spec(hyperiterations=3))
        time.sleep(4.0)
        reached = service.story(running).row.hyperiteration
        assert service.story(waiting).status is Status.QUEUED
        client.config_set("min-replicas-to-write", 0)
    assert service.wait(waiting).status is Status.SUCCEEDED
    now = service.wait_for_progress(running, reached + 5)
    assert now.outcomes == [None], "what runs has not noticed"
    worker.terminate()
    assert worker.wait(30) == 0


BREAKS = """
import signal, sys
from worker.__main__ import main

def broken(*_):
    raise RuntimeError("broken")

signal.signal(signal.SIGUSR2, broken)
sys.exit(main())
"""


def test_a_worker_whose_celery_breaks_gives_back_what_it_runs_and_ends_with_1(service, undisturbed):
    worker = service.start_worker(("-c", BREAKS))
    running, waiting = service.submit(undisturbed.spec), service.submit(undisturbed.spec)
    service.wait_for_progress(running, 5)
    worker.send_signal(signal.SIGUSR2)
    assert worker.wait(timeout=20) == 1
    assert service.story(running).outcomes == ["released"]
    assert service.story(waiting).status is Status.QUEUED
    service.start_worker()
    assert_same_run(service, running, undisturbed)


def test_an_experiment_that_keeps_losing_its_child_fails_in_the_end(service, spec):
    experiment_id = service.submit(spec(hyperiterations=1_000_000))
    worker = service.start_worker(infrastructure_attempts=3)
    for attempt in (1, 2, 3):
        service.wait(experiment_id, lambda now, n=attempt: len(now.attempts) == n and now.attempts[-1].outcome is None)
        deadline = time.monotonic() + 30
        while not (children := service.children(worker)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if attempt == 2:  # the fork server dies, and its child with it; the next attempt gets a new one
            children[0].parent().kill()
        else:
            os.killpg(children[0].pid, signal.SIGKILL)
    done = service.wait(experiment_id)
    assert (done.status, done.outcomes) == (Status.FAILED, ["lost"] * 3)
    assert (done.row.error["category"], done.row.error["code"]) == ("infrastructure", "child_died")
