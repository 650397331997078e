"""The child's work: run one experiment with torch, and say how it ended."""

import logging
from collections.abc import Callable

import torch

from core.errors import BilevelError, DataMissing, Diverged
from core.packages import packages, place
from core.run import Finished, run
from core.spec import Experiment
from core.store.artifacts import StoreArtifacts
from core.store.blobs import Blobs
from core.store.engine import make_engine
from core.store.recorder import StoreCheckpoints, StoreRecorder
from worker.order import Order, Report

logger = logging.getLogger(__name__)


def work(order: Order, stop: Callable[[], bool]) -> Report:
    """Runs the order to its end, or until `stop` says so; every way to end becomes a report."""
    torch.set_num_threads(order.threads)
    try:
        return _run(order, stop)
    except Diverged as error:
        return _failed("user", error.code, str(error), hyperiteration=error.hyperiteration)
    except BilevelError as error:
        logger.warning("%s: %s", error.code, error)
        if error.category == "infrastructure":
            return Report("lost", {"category": "infrastructure", "code": error.code, "message": str(error)})
        return _failed(error.category, error.code, str(error) + _in_package(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a package's code raises
        return _unforeseen(error)


def _run(order: Order, stop: Callable[[], bool]) -> Report:
    settings = order.settings
    engine = make_engine(settings.database_url.get_secret_value(), pool_size=1, name="bilevel child")
    blobs = Blobs(settings.storage_dir)
    recorder = StoreRecorder(
        engine,
        order.experiment_id,
        order.attempt,
        flush_seconds=settings.flush_seconds,
        patience=settings.lease_seconds,
    )
    checkpoints = StoreCheckpoints(
        engine, blobs, order.experiment_id, order.attempt, recorder=recorder, patience=settings.lease_seconds
    )
    try:
        ended = run(
            Experiment.model_validate(order.spec),
            device=order.device,
            data_dir=settings.data_dir,
            recorder=recorder,
            checkpoints=checkpoints,
            artifacts=StoreArtifacts(engine, blobs, patience=settings.lease_seconds),
            stop=stop,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
    finally:
        recorder.flush()  # whichever way it ends: the curve up to there
    if not isinstance(ended, Finished):
        return Report("stopped", {})
    artifacts = {
        name: {"media_type": media_type, **blobs.put(content)._asdict()}
        for name, (media_type, content) in ended.artifacts.items()
    }
    return Report("succeeded", {"result": ended.result, "artifacts": artifacts})


def _unforeseen(error: Exception | SystemExit) -> Report:
    """Files that fail are the service's, but for those that a package's code has opened itself."""
    where = _in_package(error)
    if isinstance(error, OSError) and not where:
        logger.exception("the storage or the system failed")
        return Report("lost", {"category": "infrastructure", "code": "system", "message": _describe(error)})
    logger.exception("the experiment failed")
    if isinstance(error, FileNotFoundError):
        return _failed("user", DataMissing.code, f"{_describe(error)}: put it where the worker finds it{where}")
    code = "out_of_memory" if _is_out_of_memory(error) else "exception"
    return _failed("user", code, _describe(error) + where)


def _in_package(error: BaseException) -> str:
    """The end of a message about what went wrong in a package's code: where; nothing for what is built in."""
    where = place(error, packages())
    return f" ({where})" if where else ""


def _failed(category: str, code: str, message: str, **facts: int) -> Report:
    return Report("failed", {"category": category, "code": code, "message": message, "facts": facts})


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
