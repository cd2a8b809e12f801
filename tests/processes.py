"""Servers as a user starts them: real processes, told by their ready line, ended by a signal."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

TESTS = Path(__file__).parent
SERVICES = TESTS / "service.py"

BACKENDS = ("asyncio", "gevent", "threading", "twisted")

# Seconds for what takes a moment on an idle machine; a busy one may need all of it.
SOON = 15.0

_READY = re.compile(r"ringback: (\S+) on (\S+) \((\w+)\)")


def eventually(what: Callable[[], object], within: float = SOON) -> None:
    """Wait until it is so. Raises where it is not in time."""
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(pid: int) -> bool:
    """Whether there is no such process, or only what is left of one that nobody has asked for its
    status.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (
        FileNotFoundError,
        ProcessLookupError,
    ):  # before the file was opened, and before it was read
        return True


def chosen_backends() -> tuple[str, ...]:
    """Those that this run is about: one where `RINGBACK_BACKEND` names it, else all."""
    one = os.environ.get("RINGBACK_BACKEND")
    return BACKENDS if not one else (one,)


class ServerProcess:
    """`python -m ringback.server`, ready to be called once this object is made."""

    def __init__(
        self,
        backend: str,
        service: str = "service",
        *options: str,
        bind: tuple[str, ...] = ("tcp://127.0.0.1:*",),
        path: Path = SERVICES,
        inside: tuple[str, ...] = (),
        python: tuple[str, ...] = (),
    ) -> None:
        """`inside`: the words of a command that runs the server's command; `python`: options of its
        interpreter.
        """
        binds = [word for endpoint in bind for word in ("--bind", endpoint)]
        command = [
            *inside,
            sys.executable,
            *python,
            "-m",
            "ringback.server",
            f"{path}:{service}",
            "--backend",
            backend,
        ]
        self.backend = backend
        self._home = tempfile.TemporaryDirectory()
        self._log = Path(self._home.name, "log")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *binds, *options],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._home.name,
            )
        self.printed: list[str] = []
        self.endpoints: list[str] = []
        self._unread = b""
        try:
            while len(self.endpoints) < len(bind):
                ready = _READY.fullmatch(self.line())
                if ready is not None:
                    assert ready[3] == backend
                    self.endpoints.append(ready[2])
        except BaseException:
            self.kill()
            raise

    @property
    def endpoint(self) -> str:
        return self.endpoints[0]

    @property
    def log(self) -> str:
        """What it has written to standard error so far."""
        return self._log.read_text(errors="replace")

    def line(self, within: float = SOON) -> str:
        """The next line of standard output. Raises where there is none in time."""
        out = self.process.stdout
        assert out is not None
        end = time.monotonic() + within
        while b"\n" not in self._unread:
            if not select.select([out], [], [], max(0.0, end - time.monotonic()))[0]:
                raise AssertionError(
                    f"the {self.backend} server printed no line in {within} s: {self.log}"
                )
            data = os.read(out.fileno(), 65536)
            if not data:
                raise AssertionError(
                    f"the {self.backend} server ended with {self.wait()}: {self.log}"
                )
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        self.printed.append(line.decode())
        return line.decode()

    def logged(self, text: str, within: float = SOON) -> bool:
        """Whether the text comes up in standard error in time."""
        end = time.monotonic() + within
        while text not in self.log:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, within: float = SOON) -> int:
        """The exit status. Raises where it has not ended in time."""
        return self.process.wait(within)

    def stop(self, within: float = SOON) -> int:
        """End it as a supervisor does, and return its exit status."""
        self.send_signal(signal.SIGTERM)
        try:
            return self.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the {self.backend} server did not end {within} s after SIGTERM: {self.log}"
            ) from None

    def kill(self) -> None:
        """End it at once, however it stands, and let go of everything."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._home.cleanup()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


class Fleet:
    """Servers of one backend at endpoints that stay the same, by their number; they announce
    themselves at `place`.
    """

    def __init__(self, backend: str, count: int = 3, service: str = "many") -> None:
        self._backend = backend
        self._service = service
        self._home = tempfile.TemporaryDirectory()
        self._registry = f"sqlite:///{self._home.name}/registry.db"
        self.place = f"{self._registry}?service={service}"
        self.endpoints = free_endpoints(count)
        self.servers = [self._start(endpoint) for endpoint in self.endpoints]

    def _start(self, endpoint: str) -> ServerProcess:
        return ServerProcess(
            self._backend, self._service, "--register", self._registry, bind=(endpoint,)
        )

    @property
    def pids(self) -> list[int]:
        return [server.process.pid for server in self.servers]

    def renew(self) -> None:
        """Start those anew that have ended."""
        for number, server in enumerate(self.servers):
            if server.process.poll() is not None:
                server.kill()
                self.servers[number] = self._start(self.endpoints[number])

    def close(self) -> None:
        for server in self.servers:
            server.kill()
        self._home.cleanup()


@contextmanager
def unserved_endpoint() -> Iterator[str]:
    """An endpoint where connections are refused: its port is taken, and nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{holder.getsockname()[1]}"


def free_endpoint() -> str:
    """An endpoint that nobody uses at the moment."""
    with unserved_endpoint() as endpoint:
        return endpoint


def free_endpoints(count: int) -> list[str]:
    with ExitStack() as holders:
        return [holders.enter_context(unserved_endpoint()) for _ in range(count)]
