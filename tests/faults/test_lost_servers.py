"""Servers that are killed, restarted and told to end, under load: every call ends once, with its
own answer or an honest error.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from processes import SOON, ServerProcess
from sizes import FULL, size

STYLES = ("threading", "gevent", "asyncio", "twisted")
# Calls that a caller has in flight.
WINDOW = 64
# Seconds that a test may take.
LONG = size(60, 1200)
CALLER = Path(__file__).with_name("caller.py")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Servers:
    """Three of one backend, at ports that stay the same."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.endpoints = [f"tcp://127.0.0.1:{port}" for port in free_ports(3)]
        self.running = [self._start(endpoint) for endpoint in self.endpoints]

    def _start(self, endpoint: str) -> ServerProcess:
        return ServerProcess(self.backend, bind=(endpoint,))

    def restart(self, index: int, number: signal.Signals) -> int:
        """The status that it ended with."""
        old = self.running[index]
        old.send_signal(number)
        status = old.wait(2 * SOON)
        old.kill()
        self.running[index] = self._start(self.endpoints[index])
        return status

    def close(self) -> None:
        for server in self.running:
            server.kill()


@pytest.fixture
def servers(backend):
    three = Servers(backend)
    yield three
    three.close()


@pytest.fixture
def callers(servers, tmp_path):
    """`callers(window)`: some of each style begin to call; `callers.end()`: what each of them tells
    at the end.
    """
    return Callers(servers.endpoints, tmp_path / "end")


class Callers:
    def __init__(self, endpoints: list[str], end: Path) -> None:
        self._end = end
        self._endpoints = endpoints
        self._running: list[subprocess.Popen[str]] = []

    def __call__(self, window: int, least: int = 0, each: int = 1) -> None:
        """So many callers of each style, with `window` calls in flight and at least so many in all;
        they are under way.
        """
        words = [str(window), str(least // (each * len(STYLES))), str(self._end), *self._endpoints]
        self._running = [
            subprocess.Popen(
                [sys.executable, str(CALLER), style, *words], stdout=subprocess.PIPE, text=True
            )
            for style in STYLES
            for _ in range(each)
        ]
        for caller in self._running:
            assert caller.stdout is not None
            assert caller.stdout.readline() == "begun\n"

    def end(self) -> list[dict]:
        self._end.touch()
        return [json.loads(caller.communicate(timeout=LONG)[0]) for caller in self._running]


def report(capsys, told: list[dict], what: str) -> None:
    if FULL:
        with capsys.disabled():
            outcomes: Counter[str] = sum((Counter(one["outcomes"]) for one in told), Counter())
            print(
                f"\n{sum(one['calls'] for one in told):,} calls of {len(told)} callers, {what}: "
                f"{dict(outcomes)}"
            )


@pytest.mark.timeout(LONG)
def test_every_answer_is_that_of_its_own_call(servers, callers, capsys):
    callers(WINDOW, least=size(20_000, 1_000_000), each=size(1, 4))
    outcomes = callers.end()
    for told in outcomes:
        assert told == {"calls": told["calls"], "outcomes": {"right": told["calls"]}, "not once": 0}
    report(capsys, outcomes, "no server killed")


def test_a_rolling_restart_costs_no_call(servers, callers):
    callers(16, least=10_000)
    statuses = [servers.restart(index, signal.SIGTERM) for index in range(3)]
    for told in callers.end():
        assert told == {"calls": told["calls"], "outcomes": {"right": told["calls"]}, "not once": 0}
    assert statuses == [0, 0, 0]


@pytest.mark.timeout(LONG)
def test_every_call_ends_once_while_servers_are_killed(servers, callers, capsys):
    callers(WINDOW, least=size(0, 1_000_000), each=size(1, 4))
    kills = size(5, 20)
    for _ in range(kills):
        time.sleep(random.uniform(0.1, size(0.5, 3.0)))
        servers.restart(random.randrange(3), signal.SIGKILL)
    outcomes = callers.end()
    report(capsys, outcomes, f"{kills} kills")
    for told in outcomes:
        lost = told["outcomes"].pop("Unavailable, started=None", 0)
        assert (told["not once"], told["outcomes"]) == (0, {"right": told["calls"] - lost})
        # A kill costs a caller what it had in flight, at the most.
        assert lost <= kills * WINDOW
