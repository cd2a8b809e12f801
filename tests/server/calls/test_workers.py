"""Worker threads: what waits is run at once while a thread is free or may be started."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from ringback.backends.workers import Workers

DEADLINE = 10.0


@pytest.fixture
def workers() -> Iterator[Workers]:
    pool = Workers(4)
    yield pool
    pool.close()


@pytest.fixture
def _switching() -> Iterator[None]:
    """Threads take turns as often as they can, which is where they meet."""
    before, over = sys.getswitchinterval(), threading.Event()

    def spin() -> None:
        while not over.is_set():
            pass

    sys.setswitchinterval(1e-6)
    spinning = [threading.Thread(target=spin) for _ in range(2)]
    for thread in spinning:
        thread.start()
    yield
    over.set()
    for thread in spinning:
        thread.join()
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching")
def test_work_never_waits_for_other_work_while_a_thread_may_be_started() -> None:
    for _ in range(30):
        pool, gate = Workers(8), threading.Event()
        for _ in range(2):
            done = threading.Event()
            pool.submit(done.set)
            assert done.wait(DEADLINE)
        # One thread is free, and is given what lasts; what comes next, before that thread may have
        # said so, needs another.
        done = threading.Event()
        pool.submit(gate.wait)
        pool.submit(done.set)
        assert done.wait(DEADLINE)
        gate.set()
        pool.close()


def test_no_more_threads_are_started_than_there_is_work_and_limit(workers: Workers) -> None:
    seen: set[int] = set()
    for _ in range(50):
        done = threading.Event()
        workers.submit(lambda done=done: (seen.add(threading.get_ident()), done.set()))  # type: ignore[misc]
        assert done.wait(DEADLINE)
    assert len(seen) <= 2  # a thread counts as busy until it has put its work away
    gate, running = threading.Event(), threading.Semaphore(0)
    for _ in range(10):
        workers.submit(lambda: (running.release(), gate.wait()))
    for _ in range(4):
        assert running.acquire(timeout=DEADLINE)
    assert not running.acquire(blocking=False)
    gate.set()
    for _ in range(6):
        assert running.acquire(timeout=DEADLINE)


def test_what_was_submitted_before_the_end_is_done() -> None:
    pool, done = Workers(2), threading.Semaphore(0)
    for _ in range(20):
        pool.submit(done.release)
    pool.close()
    for _ in range(20):
        assert done.acquire(timeout=DEADLINE)
