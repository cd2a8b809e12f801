"""Servers that end, or are replaced, by themselves: after many calls, and when their source
changes. No call fails meanwhile.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ringback
from processes import SOON, ServerProcess, eventually

SERVICE = """
import os, time
import ringback

time.sleep(SLOW)  # as a service with many imports

service = ringback.Service("edited")


@service.method(inline=True)
def seen() -> list[int]:
    return [VERSION, os.getpid()]


@service.method
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
"""


def write(path: Path, version: int, slow: float = 0.0) -> None:
    path.write_text(f"VERSION, SLOW = {version}, {slow}\n{SERVICE}")


def children(pid: int) -> int:
    """How many processes a supervisor has."""
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


class Load:
    """Calls from two threads, one after the other in each, and what they were answered."""

    def __init__(self, endpoint: str) -> None:
        self.seen: list[tuple[int, int]] = []
        self.failed: list[BaseException] = []
        self._over = False
        self._client = ringback.connect(endpoint)
        self._threads = [threading.Thread(target=self._call) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        while not self._over:
            try:
                self.seen.append(tuple(self._client.call("seen")))
            except BaseException as error:
                self.failed.append(error)
            time.sleep(0.001)

    def stop(self) -> None:
        self._over = True
        for thread in self._threads:
            thread.join(SOON)
        self._client.close()


@contextmanager
def load(endpoint: str) -> Iterator[Load]:
    made = Load(endpoint)
    try:
        yield made
    finally:
        made.stop()


def test_a_service_is_edited_under_load_and_no_call_fails(backend: str, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    path = tmp_path / "edited.py"
    write(path, 1)
    with (
        ServerProcess(backend, "service", "--reload", path=path) as server,
        load(server.endpoint) as calls,
    ):
        eventually(lambda: any(version == 1 for version, _ in calls.seen))
        write(path, 2)
        eventually(lambda: any(version == 2 for version, _ in calls.seen))
        path.write_text("this is no Python")
        assert server.logged("replacement failed before it served: the old processes go on")
        write(path, 3)
        eventually(lambda: any(version == 3 for version, _ in calls.seen))
        write(path, 4)  # as long as the last, and perhaps in the same second
        eventually(lambda: any(version == 4 for version, _ in calls.seen))
        calls.stop()
        assert calls.failed == []
        assert server.stop() == 0


def test_what_is_edited_while_processes_are_replaced_is_served_in_the_end(
    backend: str, tmp_path: Path
) -> None:
    pytest.importorskip("watchfiles")
    path = tmp_path / "edited.py"
    write(path, 1)
    with (
        ServerProcess(backend, "service", "--reload", path=path) as server,
        load(server.endpoint) as calls,
    ):
        eventually(lambda: any(version == 1 for version, _ in calls.seen))
        write(path, 2, slow=1.0)
        assert server.logged("replacing 1 processes")
        eventually(lambda: children(server.process.pid) == 2)
        write(path, 3, slow=1.0)  # the second process has loaded, or loads, what is old by now
        eventually(lambda: any(version == 3 for version, _ in calls.seen))
        eventually(lambda: children(server.process.pid) == 1)
        calls.seen.clear()
        eventually(lambda: len(calls.seen) > 50)
        assert {version for version, _ in calls.seen} == {3}
        calls.stop()
        assert calls.failed == []
        assert server.stop() == 0


def test_without_its_library_reload_names_the_extra(
    backend: str, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "watchfiles.py").write_text("raise ImportError('none')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        AssertionError,
        match=r"ended with 3: ringback: --reload needs watchfiles: .*ringback\[reload\]",
    ):
        ServerProcess(backend, "service", "--reload")


def test_a_server_leaves_after_its_calls(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    write(path, 1)
    with ServerProcess(backend, "service", "--max-requests", "200", path=path) as server:
        with ringback.connect(server.endpoint) as client:
            for _ in range(199):
                assert client.call("seen")[0] == 1
            time.sleep(0.6)  # it looks more often
            assert server.process.poll() is None
            answers = [client.fire("seen") for _ in range(21)]  # a tenth more, and one
            assert [answer.result(SOON)[0] for answer in answers] == [1] * 21
        assert server.wait() == 0
        assert "leaving after 220 calls" in server.log


def test_a_process_is_replaced_after_its_calls_and_none_fails(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    write(path, 1)
    options = ("--max-requests", "50", "--processes", "1")
    with (
        ServerProcess(backend, "service", *options, path=path) as server,
        load(server.endpoint) as calls,
    ):
        eventually(lambda: len({pid for _, pid in calls.seen}) >= 3)
        calls.stop()
        assert calls.failed == []
        assert "RELOADING" not in server.log
        assert server.stop() == 0


def test_a_process_that_is_slow_to_come_is_waited_for_by_one_alone(
    backend: str, tmp_path: Path
) -> None:
    path = tmp_path / "edited.py"
    write(path, 1, slow=1.0)
    options = ("--max-requests", "20", "--processes", "1")
    with (
        ServerProcess(backend, "service", *options, path=path) as server,
        load(server.endpoint) as calls,
    ):
        most = 0
        while len({pid for _, pid in calls.seen}) < 4:
            most = max(most, children(server.process.pid))
            time.sleep(0.02)
        assert most == 2  # one that serves, and its successor
        calls.stop()
        assert calls.failed == []


def test_a_signal_while_a_server_leaves_by_itself_cuts_nothing(
    backend: str, tmp_path: Path
) -> None:
    path = tmp_path / "edited.py"
    write(path, 1)
    with ServerProcess(backend, "service", "--max-requests", "2", path=path) as server:
        with ringback.connect(server.endpoint) as client:
            accepted = client.fire("nap", 2.0)
            for _ in range(3):
                client.call("seen")
            assert server.logged("leaving after 3 calls")
            server.send_signal(signal.SIGTERM)
            assert accepted.result(SOON) == 2.0
        assert server.wait() == 0
