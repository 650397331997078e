"""The Celery app, the task's name, and `ring`: when. The message is a hint; the row is the truth."""

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from core.errors import BrokerUnreachable

TASK = "bilevel.work"
"""Name of the task: look for an experiment to run. It has no arguments: which one is decided in Postgres."""


PATIENCE = {
    "socket_connect_timeout": 3,
    "socket_timeout": 10,
    "retry_on_timeout": True,
    "max_retries": 1,
    "interval_start": 0.1,
    "interval_max": 0.1,
}
"""For sending a hint: a submission does not wait long for a broker that is down. A worker tries for ever."""


def make_queue(broker_url: str) -> Celery:
    """A Celery app on the broker: JSON only, no results, hints acknowledged when they are heard."""
    queue = Celery("bilevel", broker=broker_url, set_as_current=False)
    queue.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue="bilevel",
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a Redis that refuses writes, as with a full disk, is waited for
        broker_transport_options=PATIENCE,
        worker_disable_prefetch=True,  # a hint is for a slot that is free
        worker_cancel_long_running_tasks_on_connection_loss=True,  # none is acknowledged late, so none is cancelled
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        enable_utc=True,
    )
    return queue


def ring(queue: Celery) -> None:
    """Sends a hint that there is something to do. Duplicates are harmless, losses are rung again by the reaper.

    Raises:
        BrokerUnreachable: the broker did not take it; the row still says `queued`.
    """
    try:
        queue.send_task(TASK, ignore_result=True, retry=False)
    except OperationalError as error:
        raise BrokerUnreachable from error


def unheard(queue: Celery) -> int:
    """How many hints wait in the broker; while some do, ringing again would only add to them.

    Raises:
        BrokerUnreachable: the broker did not answer.
    """
    try:
        with queue.connection_for_read() as connection:
            ours = queue.amqp.queues[queue.conf.task_default_queue](connection.default_channel)
            declared: Any = ours.queue_declare()  # the stubs' return type is wrong
    except OperationalError as error:
        raise BrokerUnreachable from error
    return int(declared.message_count)


def check(queue: Celery) -> None:
    """Makes sure that hints can be sent.

    Raises:
        BrokerUnreachable: the broker does not answer.
    """
    try:
        with queue.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=3)
    except OperationalError as error:
        raise BrokerUnreachable from error
