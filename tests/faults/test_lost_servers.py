"""Servers that are killed, restarted and told to end, under load: every call ends once, with its own answer or an honest error."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import SOON, ServerProcess

STYLES = ("threading", "gevent", "asyncio", "twisted")
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
    """`callers(window)`: one of each style begins to call; `callers.end()`: what each of them tells at the end."""
    return Callers(servers.endpoints, tmp_path / "end")


class Callers:
    def __init__(self, endpoints: list[str], end: Path) -> None:
        self._end = end
        self._endpoints = endpoints
        self._running: list[subprocess.Popen[str]] = []

    def __call__(self, window: int) -> None:
        words = [str(window), str(self._end), *self._endpoints]
        self._running = [
            subprocess.Popen([sys.executable, str(CALLER), style, *words], stdout=subprocess.PIPE, text=True)
            for style in STYLES
        ]

    def end(self) -> list[dict]:
        self._end.touch()
        return [json.loads(caller.communicate(timeout=60)[0]) for caller in self._running]


def test_a_rolling_restart_costs_no_call(servers, callers):
    callers(16)
    time.sleep(1.0)
    statuses = [servers.restart(index, signal.SIGTERM) for index in range(3)]
    for told in callers.end():
        assert told == {"calls": told["calls"], "outcomes": {"right": told["calls"]}, "not once": 0}
        assert told["calls"] > 2500
    assert statuses == [0, 0, 0]


def test_every_call_ends_once_while_servers_are_killed(servers, callers):
    callers(64)
    for _ in range(5):
        time.sleep(random.uniform(0.1, 0.5))
        servers.restart(random.randrange(3), signal.SIGKILL)
    for told in callers.end():
        lost = told["outcomes"].pop("Unavailable, started=None", 0)
        assert (told["not once"], told["outcomes"]) == (0, {"right": told["calls"] - lost})
        assert lost < told["calls"] / 2
