"""Hints leave one at a time, and none is lost but by a broker that does not answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

from api.bell import Bell
from core.errors import BrokerUnreachable


def test_a_broker_that_hangs_holds_one_thread() -> None:
    rung, free = [], threading.Event()

    def ring() -> None:
        free.wait(10)
        rung.append(threading.current_thread())

    bell = Bell(ring)
    first = threading.Thread(target=bell)
    first.start()
    for _ in range(5):
        bell()  # returns at once
    assert rung == []
    free.set()
    first.join(10)
    assert rung == [first] * 6


def test_every_call_is_a_hint() -> None:
    lock, rung = threading.Lock(), 0

    def ring() -> None:
        nonlocal rung
        with lock:
            rung += 1

    bell = Bell(ring)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(400):
            pool.submit(bell)
    assert rung == 400


def test_after_a_broker_that_did_not_answer_it_rings_again() -> None:
    answers = [BrokerUnreachable(), RuntimeError("a fault"), None]

    def ring() -> None:
        if answer := answers.pop(0):
            raise answer

    bell = Bell(ring)
    bell()
    try:
        bell()
    except RuntimeError:
        bell()
    assert answers == []
