"""From a queued row to its end, through real processes: what a worker does when nothing breaks."""

import math

import pytest

from core.queue import make_queue, ring, unheard
from core.status import Status
from core.store.cancelling import request_cancel
from core.store.engine import transaction

pytestmark = pytest.mark.service


LARGE = {"kind": "quadratic", "inner_dimension": 2000, "outer_dimension": 2000}


def test_experiments_end_as_they_should(service, spec):
    """One worker, one experiment after the other."""
    good = service.submit(spec())
    diverging = service.submit(spec(rate=1000.0, steps=50))
    slow = service.submit(spec(hyperiterations=1_000_000, resources={"time_limit": 1.5}))
    large = service.submit(spec(hyperiterations=1_000_000, problem=LARGE, resources={"memory_limit": 400}))
    cancelled = service.submit(spec(hyperiterations=1_000_000))
    service.start_worker()

    done = service.wait(good)
    assert done.status is Status.SUCCEEDED, done.row.error
    assert done.row.hyperiteration == done.row.hyperiterations == 30
    assert done.row.result["spec_sha256"] == done.row.spec_sha256
    assert done.row.result["best"]["hyperiteration"] <= 30
    assert done.kinds[:2] == ["queued", "started"]
    assert done.kinds[-1] == "succeeded"
    assert done.outcomes == ["succeeded"]
    assert list(service.curves(good)["outer_objective"]) == list(range(30))

    done = service.wait(diverging)
    assert done.status is Status.FAILED
    assert (done.row.error["category"], done.row.error["code"]) == ("user", "diverged")
    curve = service.curves(diverging)["hypergradient_norm"]
    assert list(curve) == list(range(done.row.error["hyperiteration"] + 1)), "the curve is intact"
    assert not math.isfinite(curve[done.row.error["hyperiteration"]])
    assert done.outcomes == ["failed"], "it is not tried again"

    done = service.wait(slow)
    assert done.status is Status.FAILED
    assert (done.row.error["category"], done.row.error["code"]) == ("timeout", "time_limit")
    assert done.outcomes == ["failed"]
    assert 1.5 <= (done.attempts[0].ended_at - done.attempts[0].started_at).total_seconds() < 20.0

    done = service.wait(large)
    assert done.status is Status.FAILED
    assert (done.row.error["category"], done.row.error["code"]) == ("user", "out_of_memory")
    assert "more than the 400 MB of `resources.memory_limit`" in done.row.error["message"]

    service.wait_for_progress(cancelled, 20)
    with transaction(service.engine) as session:
        assert request_cancel(session, cancelled) is Status.CANCELLING
    done = service.wait(cancelled)
    assert done.status is Status.CANCELLED
    assert done.outcomes == ["cancelled"]
    assert done.kinds[-2:] == ["cancelling", "cancelled"]
    assert len(service.curves(cancelled)["outer_objective"]) >= 20


def test_a_worker_stopped_by_sigterm_gives_its_experiment_back(service, spec):
    experiment_id = service.submit(spec(hyperiterations=1_000_000))
    worker = service.start_worker()
    service.wait_for_progress(experiment_id, 10)
    worker.terminate()
    assert worker.wait(30) == 0
    now = service.story(experiment_id)
    assert (now.status, now.row.losses, now.outcomes) == (Status.QUEUED, 0, ["released"])
    reached = now.row.hyperiteration

    service.start_worker()
    now = service.wait_for_progress(experiment_id, reached + 10)
    assert now.outcomes == ["released", None]
    resumed = [event.data for event in now.events if event.kind == "resumed"]
    assert len(resumed) == 1
    assert resumed[0]["attempt"] == 2
    assert resumed[0]["hyperiteration"] >= reached
    curve = service.curves(experiment_id)["outer_objective"]
    assert list(curve) == list(range(len(curve))), "no hyperiteration is missing at the seam"


def test_two_slots_run_two_experiments_at_a_time(service, spec):
    both = [service.submit(spec(hyperiterations=1_000_000)) for _ in range(2)]
    service.start_worker(slots=2)
    for experiment_id in both:
        service.wait_for_progress(experiment_id, 5)
    slots = {service.story(experiment_id).attempts[0].slot for experiment_id in both}
    assert len(slots) == 2
    assert all(service.story(experiment_id).status is Status.RUNNING for experiment_id in both)


def test_hints_are_counted(redis_url):
    queue = make_queue(redis_url)
    assert unheard(queue) == 0
    ring(queue)
    ring(queue)
    assert unheard(queue) == 2


def test_a_worker_shows_that_it_is_alive(service, spec, tmp_path):
    alive = tmp_path / "alive"
    service.start_worker(alive_file=alive)
    service.wait(service.submit(spec(hyperiterations=5)))
    assert alive.exists()
    before = alive.stat().st_mtime_ns
    service.wait(service.submit(spec(hyperiterations=5)))
    service.wait(service.submit(spec(hyperiterations=5)), lambda _: alive.stat().st_mtime_ns > before)
