"""Child processes that cannot outstay their welcome: every wait has a deadline, and what a child logged is kept to explain its end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from ...options.files import isolated
from ...runtime import interpreter

START_SECONDS = 30.0
STOP_SECONDS = 5.0

# How often, in seconds, another process is looked at while one is waited for.
_LOOK_SECONDS = 0.25


class ChildFailed(Exception):
    """A child ended too early, or did not say in time what it was to say. The text is one line, with its last line of log."""


class Child:
    """`python -m ...`, of this interpreter or of another; ended, if need be killed, when the `with` is left."""

    def __init__(self, *words: str, python: str = "") -> None:
        self._unread = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__; a pipe that nobody reads would fill up
        self._process = subprocess.Popen(
            interpreter.command("-m", *words, python=python),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=isolated(os.environ, "serve"),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, line: bytes) -> None:
        """A line for its standard input. Raises ChildFailed where nobody is there to read it."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(line + b"\n")
            stdin.flush()
        except BrokenPipeError:
            self._wait()
            raise ChildFailed(self.end()) from None

    def line(self, within: float, needs: Child | None = None) -> bytes:
        """The next line of its standard output. Raises ChildFailed where there is none in so many seconds, or where the other one, which it
        `needs` for that, has ended."""
        out = self._process.stdout
        assert out is not None
        end = time.monotonic() + within
        while b"\n" not in self._unread:
            left = max(0.0, end - time.monotonic())
            if not select.select([out], [], [], left if needs is None else min(left, _LOOK_SECONDS))[0]:
                if needs is not None and (ended := needs.end()):
                    raise ChildFailed(ended)
                if time.monotonic() >= end:
                    raise ChildFailed(f"no answer within {within:.0f} s{self._last_words()}")
                continue
            data = os.read(out.fileno(), 65536)
            if not data:
                self._wait()
                raise ChildFailed(self.end())
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def end(self) -> str | None:
        """How it ended, with its last line of log; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        how = f"with status {status}" if status >= 0 else f"by signal {-status} ({signal.strsignal(-status)})"
        return f"ended {how}{self._last_words()}"

    def stop(self) -> None:
        """The end of its input, SIGTERM, and SIGKILL for what is still there after a while."""
        # Twisted's reactor takes SIGTERM for itself, and sees it only when it does not wait for input.
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.terminate()
        self._wait()

    def _wait(self) -> None:
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return f"; its last words: {lines[-1].strip()}" if lines else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._process.kill()  # nothing, where it has ended
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._log.close()


def pin(pid: int, processors: Sequence[int]) -> None:
    """Have a process run on these processors alone, if there are any: all threads that it has, and so those that they make."""
    if processors:
        with contextlib.suppress(FileNotFoundError):  # a process that has just ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):  # a thread that has
                    os.sched_setaffinity(int(task.name), processors)
