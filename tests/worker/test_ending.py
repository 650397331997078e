"""The table from how a child ended to what is written down."""

from uuid import UUID

import pytest

from core.store.claiming import Claim
from core.store.finishing import Budget, Failure, StoredArtifact, cancel, fail, lose, release, succeed
from worker.ending import Ending, transition
from worker.order import Report
from worker.supervise import Reason

CLAIM = Claim(UUID(int=7), 3, {}, "cpu")
BUDGET = Budget(5, 1.0)
ERROR = {"category": "user", "code": "exception", "message": "ValueError: no", "facts": {}}
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
    written = transition(CLAIM, Ending(report, reason, "killed by SIGKILL"), BUDGET)
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
    assert transition(CLAIM, Ending(None, Reason.FENCED, ""), BUDGET)(None) is None


def test_a_report_goes_through_the_pipe_as_json():
    assert Report.decode(SUCCESS.encode()) == SUCCESS
    with pytest.raises(ValueError, match="JSON"):
        Report("succeeded", {"result": float("nan")}).encode()
