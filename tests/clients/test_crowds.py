"""Many threads that share one client: those that wait follow one that reads, and sends for them,
without its lock.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any

import pytest
import ringback
from ringback import errors

THREADS = 24


def crowd(client: Any, seconds: float, seed: int) -> Counter[str]:
    """Calls of all kinds by many threads at once, at random.

    What became of them; fails where a thread has not ended in time.
    """
    end = time.monotonic() + seconds
    counts: Counter[str] = Counter()
    counting = threading.Lock()
    wrong: list[object] = []

    def one(draw: random.Random) -> str:
        number, kind = draw.randrange(1 << 40), draw.random()
        if kind < 0.7:
            assert client.call("echo", number) == number
        elif kind < 0.8:
            assert client.fire("echo", number).result(10) == number
        elif kind < 0.85:
            client.options(timeout=0.002).call("nap", 0.01)
        elif kind < 0.9:
            assert list(client.stream("count", 3)) == [0, 1, 2]
        elif kind < 0.95:
            client.notify("echo", number)
        else:
            time.sleep(draw.random() * 0.01)
        return "right"

    def work(draw: random.Random) -> None:
        own: Counter[str] = Counter()
        try:
            while time.monotonic() < end:
                try:
                    own[one(draw)] += 1
                except errors.CallError as error:
                    own[type(error).__name__] += 1
                except RuntimeError as error:
                    if "is closed" not in str(error):
                        raise
                    break
        except BaseException as error:
            wrong.append(error)
        with counting:
            counts.update(own)

    threads = [
        threading.Thread(target=work, args=(random.Random(seed + n),), daemon=True)
        for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end + 10.0 - time.monotonic()))
    assert not wrong, wrong[0]
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    return counts


@pytest.fixture
def seed(request) -> int:
    chosen = random.randrange(1 << 32)
    print(f"seed {chosen}")
    return chosen


def test_a_crowd_of_threads_waits_for_nothing_in_vain(running_server, backend, seed):
    with ringback.connect(running_server(backend).endpoint) as client:
        client.call(
            "echo", 1
        )  # until it is connected, a call whose time is over ends as Unavailable
        counts = crowd(client, 3.0, seed)
    assert counts["right"] > 1000
    assert set(counts) <= {"right", "DeadlineExceeded"}


def test_a_close_amid_a_crowd_ends_all_calls(running_server, backend, seed):
    client = ringback.connect(running_server(backend).endpoint)
    client.call("echo", 1)
    closing = threading.Timer(1.0, client.close, kwargs={"now": True})
    closing.start()
    counts = crowd(client, 2.0, seed)
    closing.join()
    assert set(counts) <= {"right", "DeadlineExceeded", "Cancelled"}
