"""One of three servers is stopped, killed and started anew, again and again, under load: what may
run twice never fails, the rest only as
it was promised, and no answer is another's."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter

import pytest
from processes import SOON, Fleet, eventually
from ringback import errors
from sizes import size

CALLERS = 4
# Seconds for which a server is stopped; after 1.5 it is taken for silent.
STOPPED = 2.5
# Seconds that a call may take. Longer than a server is stopped.
TIMEOUT = 15.0


@pytest.fixture(scope="module")
def shared_fleet(backend):
    fleet = Fleet(backend)
    yield fleet
    fleet.close()


@pytest.fixture
def fleet(shared_fleet):
    shared_fleet.renew()
    yield shared_fleet
    for server in shared_fleet.servers:
        server.send_signal(signal.SIGCONT)


class Callers:
    """Threads that share one client, and call one method one time after the other until they are
    told to end.
    """

    def __init__(self, client, method: str, **options: object) -> None:
        self._client = client.options(**options)
        self._method = method
        self._ends = False
        self.outcomes: Counter[str] = Counter()
        self.answered: Counter[int] = Counter()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _call(self, caller: int) -> None:
        number = caller
        while not self._ends:
            number += CALLERS
            try:
                value, pid = self._client.call(self._method, number, 0.002)
            except errors.CallError as error:
                self.outcomes[
                    f"{type(error).__name__}, started={getattr(error, 'started', None)}"
                ] += 1
            else:
                self.outcomes["right" if value == number else "wrong"] += 1
                self.answered[pid] += 1

    def await_answers(self, *pids: int) -> None:
        """Until each of these has answered a call that was made from now on."""
        before = self.answered.copy()
        eventually(lambda: all(self.answered[pid] > before[pid] for pid in pids))

    def end(self) -> Counter[str]:
        self._ends = True
        for thread in self._threads:
            thread.join(2 * SOON)
            assert not thread.is_alive()
        return self.outcomes


HONEST = {"right", "Unavailable, started=None", "DeadlineExceeded, started=None"}


def test_a_server_that_is_stopped_costs_no_call_that_may_run_twice(fleet, connected):
    reads = Callers(connected(*fleet.endpoints, timeout=TIMEOUT), "look_at")
    for number in range(size(1, 10)):
        reads.await_answers(*fleet.pids)
        stopped = fleet.servers[number % 3]
        stopped.send_signal(signal.SIGSTOP)
        others = [pid for pid in fleet.pids if pid != stopped.process.pid]
        time.sleep(STOPPED)
        reads.await_answers(*others)  # while it is stopped
        stopped.send_signal(signal.SIGCONT)
        reads.await_answers(*fleet.pids)
    assert set(reads.end()) == {"right"}


def test_while_a_server_is_stopped_what_must_not_run_twice_waits_or_fails_as_promised(
    fleet, connected
):
    client = connected(*fleet.endpoints, timeout=size(1.0, 5.0))
    writes, reads = Callers(client, "change"), Callers(client, "look_at", timeout=TIMEOUT)
    for number in range(size(1, 10)):
        writes.await_answers(*fleet.pids)
        stopped = fleet.servers[number % 3]
        stopped.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED)
        stopped.send_signal(signal.SIGCONT)
        reads.await_answers(*fleet.pids)
    outcomes = writes.end()
    assert set(reads.end()) == {"right"}
    assert set(outcomes) <= HONEST
    # Each caller has been at it once, and then left it alone.
    assert outcomes.total() - outcomes["right"] <= CALLERS * size(1, 10)


def test_servers_that_are_killed_and_started_anew_cost_no_call_that_may_run_twice(fleet, connected):
    client = connected(*fleet.endpoints, timeout=TIMEOUT)
    reads, writes = Callers(client, "look_at", hedge=True), Callers(client, "change")
    for _ in range(size(2, 20)):
        reads.await_answers(*fleet.pids)
        killed = random.choice(fleet.servers)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        fleet.renew()
        reads.await_answers(*fleet.pids)
    assert set(reads.end()) == {"right"}
    assert set(writes.end()) <= HONEST
