"""A server under a service manager: what it tells it on a real datagram socket, and the sockets
that it takes over.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ringback
from processes import SOON, ServerProcess
from ringback import errors

# A service manager, which hands over listening sockets and becomes the server: `python -c GIVER
# FAMILY... -- COMMAND`.
GIVER = """
import fcntl, os, socket, sys
split = sys.argv.index("--")
given = []
for where in sys.argv[1:split]:
    if where == "tcp":
        made = socket.create_server(("127.0.0.1", 0))
    elif where == "datagram":
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    else:
        made = socket.socket(socket.AF_UNIX)
        made.bind(where.replace("@", "\\0"))
        made.listen()
    given.append(fcntl.fcntl(made, fcntl.F_DUPFD, 50))
for number, descriptor in enumerate(given):
    os.dup2(descriptor, 3 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given))}
os.execvp(sys.argv[split + 1], sys.argv[split + 1:])
"""


class Manager:
    """The end of the datagram socket that a service manager reads."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(SOON)
        self.socket.bind(path)

    def next(self) -> dict[str, str]:
        """The next datagram. Raises where there is none in time."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def until(self, key: str) -> dict[str, str]:
        """The next datagram that says this."""
        while key not in (said := self.next()):
            pass
        return said


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@ringback-test-{os.getpid()}"
    made = Manager(name.replace("@", "\0", 1))
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    yield made
    made.socket.close()


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "many"])
def test_the_manager_is_told_when_it_is_ready_reloads_and_stops(
    manager: Manager, options: tuple[str, ...], backend: str
) -> None:
    with ServerProcess(backend, "service", *options) as server:
        assert manager.next() == {"READY": "1"}
        if options:
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            server.send_signal(signal.SIGHUP)
            told = manager.next()
            assert told["RELOADING"] == "1"
            assert (
                before
                <= int(told["MONOTONIC_USEC"])
                <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            )
            assert manager.next() == {"READY": "1"}
        server.send_signal(signal.SIGTERM)
        assert manager.next() == {"STOPPING": "1"}
        assert server.wait() == 0


def test_it_is_ready_when_it_answers_and_not_before(
    manager: Manager, backend: str, tmp_path: Path
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import ringback, time\nservice = ringback.Service('slow')\n"
        "@service.lifespan\ndef life():\n    time.sleep(0.5)\n    yield\n"
    )
    begun = time.monotonic()
    with ServerProcess(backend, "service", path=slow) as server:
        assert manager.next() == {"READY": "1"}
        assert time.monotonic() - begun > 0.5
        with ringback.connect(server.endpoint) as client:
            assert client.call("ringback.ping") == "pong"


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "many"])
def test_signs_of_life_come_as_often_as_the_manager_asks(
    manager: Manager, options: tuple[str, ...], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with ServerProcess(backend, "service", *options):
        times = []
        for _ in range(6):
            manager.until("WATCHDOG")
            times.append(time.monotonic())
        assert times[-1] - times[0] < 5 * 0.4  # each before its time is over


BLOCKING = """
import time
import ringback

service = ringback.Service("blocking")


@service.method(inline=True)
def block(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:  # to sleep would not block gevent's loop
        pass
"""


def test_a_loop_that_stands_still_gives_no_sign_of_life(
    manager: Manager, backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    path = tmp_path / "blocking.py"
    path.write_text(BLOCKING)
    with (
        ServerProcess(backend, "service", path=path) as server,
        ringback.connect(server.endpoint) as client,
    ):
        blocked = client.fire("block", 1.0)
        gaps, last = [], time.monotonic()
        while not blocked.done() or len(gaps) < 3:
            manager.until("WATCHDOG")
            now = time.monotonic()
            gaps.append(now - last)
            last = now
        assert max(gaps) > 0.9


def test_the_manager_of_another_process_hears_nothing(
    manager: Manager, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    with ServerProcess(backend, "service") as server:
        assert manager.next() == {"READY": "1"}
        server.send_signal(signal.SIGTERM)
        assert manager.next() == {"STOPPING": "1"}


def given(*sockets: str) -> tuple[str, ...]:
    return (sys.executable, "-c", GIVER, *sockets, "--")


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "many"])
def test_sockets_of_the_manager_are_served(
    options: tuple[str, ...], backend: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    with ServerProcess(backend, "service", *options, bind=(), inside=given("tcp", path)) as server:
        endpoints = [server.line().split()[3], server.line().split()[3]]
        assert endpoints[0].startswith("tcp://127.0.0.1:")
        assert endpoints[1] == f"ipc://{path}"
        for endpoint in endpoints:
            with ringback.connect(endpoint) as client:
                assert client.call("ringback.ping") == "pong"
        assert server.stop() == 0
    assert os.path.exists(path)  # it is the manager's


def test_they_are_served_beside_endpoints_that_are_named(backend: str) -> None:
    with ServerProcess(backend, "service", inside=given("tcp")) as server:
        other = server.line().split()[3]
        assert other != server.endpoint
        for endpoint in (server.endpoint, other):
            with ringback.connect(endpoint) as client:
                assert client.call("ringback.ping") == "pong"


def test_a_socket_of_an_endpoint_that_is_named_too_is_served_once(
    backend: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    with ServerProcess(backend, "service", bind=(f"ipc://{path}",), inside=given(path)) as server:
        with ringback.connect(server.endpoint) as client:
            assert client.call("ringback.ping") == "pong"
        assert server.stop() == 0


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "many"])
def test_a_socket_without_a_path_is_served(options: tuple[str, ...], backend: str) -> None:
    name = f"ringback-test-{os.getpid()}"
    with ServerProcess(backend, "service", *options, bind=(), inside=given(f"@{name}")) as server:
        assert server.line().split()[3] == f"ipc://@{name}"
        with ringback.connect(f"ipc://@{name}") as client:
            assert client.call("ringback.ping") == "pong"


def test_a_socket_that_nobody_can_connect_to_is_refused(backend: str) -> None:
    with pytest.raises(
        AssertionError, match="ended with 3: ringback: LISTEN_FDS: descriptor 3 is not a listening"
    ):
        ServerProcess(backend, "service", inside=given("datagram"))


def test_sockets_for_another_process_are_left_alone(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "3")
    with ServerProcess(backend, "service") as server, ringback.connect(server.endpoint) as client:
        assert client.call("ringback.ping") == "pong"
        with pytest.raises(errors.MethodNotFound):
            client.call("nosuch")
