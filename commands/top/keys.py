"""Reads single key presses from the terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import Self


class Keys:
    """Context manager that reads keys from standard input if that is a terminal.

    Within the `with`, keys are not echoed and need no Enter.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        try:
            if sys.stdin is not None and sys.stdin.isatty():
                self._descriptor = sys.stdin.fileno()
        except ValueError:  # it is closed
            pass

    def __enter__(self) -> Self:
        if self._descriptor >= 0:
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)  # Ctrl-C remains a signal
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor >= 0:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> str:
        """The keys pressed, as soon as there are any; "" after that many seconds without one."""
        if self._descriptor < 0:
            time.sleep(seconds)
            return ""
        readable, _, _ = select.select([self._descriptor], [], [], seconds)
        if not readable:
            return ""
        data = os.read(self._descriptor, 1024)
        if not data:  # the terminal has closed
            self._descriptor = -1
        return data.decode(errors="replace")
