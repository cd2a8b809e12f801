"""One client with 10,000 calls in flight beside fifty with one each: what a call of these takes,
and what it takes of an idle server.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ringback
from processes import SOON
from sizes import size

FIFTY = 50
# Seconds for each median.
SECONDS = size(1.5, 5.0)
# Seconds from an answer to a client's next call.
PAUSE = 0.1
# Times as long as on an idle server: the promise.
TIMES = 5

# `fire` waits at the bound of calls in flight, and so keeps that many there.
# It is nice, as it has a processor to itself only where there are three.
GREEDY = """
import os, sys
import ringback
os.nice(10)
endpoint, method, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with ringback.connect(endpoint, max_in_flight=count, timeout=None) as client:
    for number in range(10**9):
        client.fire(method, 1, 2)
        if number == count:
            print("begun", flush=True)
"""


def median(endpoint: str, method: str) -> float:
    """Seconds that a call of one of fifty clients takes; each has one in flight."""
    took: list[float] = []

    def work() -> None:
        with ringback.connect(endpoint) as client:
            client.call(method, 1, 2)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                begun = time.perf_counter()
                client.call(method, 1, 2)
                took.append(time.perf_counter() - begun)
                time.sleep(PAUSE)

    threads = [threading.Thread(target=work) for _ in range(FIFTY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + SOON)
    assert len(took) > FIFTY
    return statistics.median(took)


@contextmanager
def beside(program: str, *words: str) -> Iterator[None]:
    """While that program runs, from the time that it prints a line."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"begun\n"
            yield
        finally:
            running.kill()


@pytest.mark.parametrize("method", ["add_inline", "add"], ids=["inline", "worker"])
def test_a_greedy_client_does_not_starve_fifty_others(start_server, backend, method, capsys):
    server = start_server(backend)
    for _ in range(3):  # again where the machine had something else to do
        idle = median(server.endpoint, method)
        with beside(GREEDY, server.endpoint, method, "10000"):
            busy = median(server.endpoint, method)
        with capsys.disabled():
            print(
                f"\n{backend}, {method}: {idle * 1000:.2f} ms idle, {busy * 1000:.2f} ms: "
                f"{busy / idle:.1f}x"
            )
        if busy < TIMES * idle:
            return
    raise AssertionError(f"three times longer than {TIMES} times as long")
