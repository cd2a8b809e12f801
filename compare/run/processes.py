"""Child processes: every wait has a deadline, and a child's log explains its failure."""

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

# Seconds between checks of the server while the parent waits for its client.
_POLL_SECONDS = 0.25


class ChildFailed(Exception):
    """A child ended too early, or did not answer in time. The text is one line, with its last log
    line."""


class Child:
    """`python -m ...`, with this interpreter or another. The end of the `with` block ends it, by
    SIGKILL if necessary."""

    def __init__(self, *words: str, python: str = "") -> None:
        self._unread = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__; an unread pipe would fill up
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
        """Write a line to its standard input. Raises ChildFailed if it has ended."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(line + b"\n")
            stdin.flush()
        except BrokenPipeError:
            self._wait()
            raise ChildFailed(self.end()) from None

    def line(self, within: float, needs: Child | None = None) -> bytes:
        """The next line of its standard output.

        Raises ChildFailed if none comes `within` these seconds, or if this child or the one that it
        `needs` has ended.
        """
        out = self._process.stdout
        assert out is not None
        end = time.monotonic() + within
        while b"\n" not in self._unread:
            left = max(0.0, end - time.monotonic())
            if not select.select(
                [out], [], [], left if needs is None else min(left, _POLL_SECONDS)
            )[0]:
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
        """How it ended, with its last log line; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        how = (
            f"with status {status}"
            if status >= 0
            else f"by signal {-status} ({signal.strsignal(-status)})"
        )
        return f"ended {how}{self._last_words()}"

    def stop(self) -> None:
        """Close its input, send SIGTERM, and SIGKILL if it still runs after STOP_SECONDS."""
        # Twisted's reactor handles SIGTERM itself, and sees it only when it does not wait for
        # input.
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
        lines = [
            line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()
        ]
        return f"; its last log line: {lines[-1].strip()}" if lines else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._process.kill()  # no effect if it has ended
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._log.close()


def pin(pid: int, processors: Sequence[int]) -> None:
    """Pin all threads of a process, and thus their future ones, to these processors, if any."""
    if processors:
        with contextlib.suppress(FileNotFoundError):  # the process has just ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):  # the thread has
                    os.sched_setaffinity(int(task.name), processors)
