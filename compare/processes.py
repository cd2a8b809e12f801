"""Child processes that cannot outstay their welcome: every wait has a deadline, and what a child logged is kept to explain its end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Self

START_SECONDS = 30.0
STOP_SECONDS = 5.0


class ChildFailed(Exception):
    """A child ended too early, or did not say in time what it was to say. The text is one line, with its last line of log."""


class Child:
    """`python -m ...`; ended, if need be killed, when the `with` is left."""

    def __init__(self, *words: str, given: bytes = b"") -> None:
        self._unread = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__; a pipe that nobody reads would fill up
        with tempfile.TemporaryFile() as stdin:  # as a file it is given whole, whatever the child does
            stdin.write(given)
            stdin.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words], stdin=stdin, stdout=subprocess.PIPE, stderr=self._log
            )

    def line(self, within: float) -> str:
        """The next line of its standard output. Raises ChildFailed where there is none in so many seconds."""
        out = self._process.stdout
        assert out is not None
        end = time.monotonic() + within
        while b"\n" not in self._unread:
            if not select.select([out], [], [], max(0.0, end - time.monotonic()))[0]:
                raise ChildFailed(f"no answer within {within:.0f} s{self._last_words()}")
            data = os.read(out.fileno(), 65536)
            if not data:
                self._wait()
                raise ChildFailed(self.end())
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace")

    def end(self) -> str | None:
        """How it ended, with its last line of log; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        how = f"with status {status}" if status >= 0 else f"by signal {-status} ({signal.strsignal(-status)})"
        return f"ended {how}{self._last_words()}"

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is still there after a while."""
        if self._process.poll() is None:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._log.close()
