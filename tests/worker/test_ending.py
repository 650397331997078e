"""The table from how a child ended to what is written down."""

from uuid import UUID

import pytest

from core.store.claiming import Claim
from core.store.finishing import Budget, Failure, StoredArtifact, cancel, fail, lose, release, succeed
from worker.ending import Ending, transition
from worker.order import Report
from worker.supervise import MIB, Limits, Reason

CLAIM = Claim(UUID(int=7), 3, {}, "cpu")
BUDGET = Budget(5, 1.0)
ERROR = {"category": "user", "code": "exception", "message": "ValueError: no", "facts": {}}
LIMITS = Limits(time=90.0, memory=400 * MIB, shared=False, abandon=30.0, grace=10.0)
STOPPED = Report("stopped", {})
SUCCESS = Report(
    "succeeded",
    {
        "result": {"final": {"hyperiteration": 7}},
        "artifacts": {"a": {"media_type": "text/plain", "sha256": "ab" * 32, "size": 2}},
    },
)


@pytest.mark.parametrize(
    ("report", "reason", "function", "code"),
    [
        (SUCCESS, None, succeed, None),
        (SUCCESS, Reason.CANCEL, succeed, None),
        (SUCCESS, Reason.RELEASE, succeed, None),
        (Report("failed", ERROR), None, fail, "exception"),
        (Report("failed", ERROR), Reason.TIME, fail, "exception"),
        (Report("lost", ERROR | {"category": "infrastructure", "code": "system"}), None, lose, "system"),
        (STOPPED, Reason.CANCEL, cancel, None),
        (STOPPED, Reason.TIME, fail, "time_limit"),
        (STOPPED, Reason.RELEASE, release, None),
        (STOPPED, None, release, None),
        (None, Reason.CANCEL, cancel, None),
        (None, Reason.TIME, fail, "time_limit"),
        (None, Reason.RELEASE, release, None),
        (None, Reason.MEMORY, fail, "out_of_memory"),
        (None, Reason.ABANDONED, lose, "no_heartbeat"),
        (None, None, lose, "child_died"),
    ],
)
def test_what_is_written_down(report, reason, function, code):
    written = transition(CLAIM, Ending(report, reason, "killed by SIGKILL", LIMITS, 0), BUDGET)
    assert written.func is function
    assert (written.keywords["experiment_id"], written.keywords["attempt"]) == (UUID(int=7), 3)
    failure = written.keywords.get("failure")
    assert (failure.code if failure else None) == code
    if failure and code == "child_died":
        assert failure == Failure("infrastructure", "child_died", "The child process ended: killed by SIGKILL.")
    if function is succeed:
        assert written.keywords["hyperiteration"] == 7
        assert isinstance(written.keywords["artifacts"]["a"], StoredArtifact)


def test_a_fenced_attempt_writes_nothing():
    assert transition(CLAIM, Ending(None, Reason.FENCED, "", LIMITS, 0), BUDGET)(None) is None


@pytest.mark.parametrize(
    ("reason", "shared", "parts"),
    [
        (Reason.TIME, False, ["longer than the 90 seconds of `resources.time_limit`", "raise it, or ask for fewer"]),
        (Reason.MEMORY, False, ["took 431 MB", "more than the 400 MB of `resources.memory_limit`", "raise it"]),
        (Reason.MEMORY, True, ["took 431 MB", "400 MB of the slot's share", "`resources.memory_limit` of its own"]),
    ],
)
def test_a_limit_that_is_passed_is_named_with_its_value_and_the_remedy(reason, shared, parts):
    ending = Ending(None, reason, "", LIMITS._replace(shared=shared), 431 * MIB)
    message = transition(CLAIM, ending, BUDGET).keywords["failure"].message
    assert all(part in message for part in parts), message


def test_a_report_goes_through_the_pipe_as_json():
    assert Report.decode(SUCCESS.encode()) == SUCCESS
    with pytest.raises(ValueError, match="JSON"):
        Report("succeeded", {"result": float("nan")}).encode()
