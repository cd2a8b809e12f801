"""One caller: it has at most one call in flight, checks the reply and takes the call's times.

It knows no event loop; `drive.py` makes the calls.
"""

from __future__ import annotations

import linecache
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import monotonic
from traceback import walk_tb
from typing import Any

from ..scenario import Call, Script


@dataclass(slots=True, eq=False)
class TimeInFlight:
    """Sum of the calls' seconds in flight, by a counter and clock readings of its own: the second
    side of Little's law."""

    area: float = 0.0
    _now: int = 0
    _last: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def change(self, by: int) -> None:
        """Change the number of calls in flight."""
        with self._lock:
            now = monotonic()
            self.area += self._now * (now - self._last)
            self._now += by
            self._last = now


@dataclass(slots=True, eq=False)
class Caller:
    """Makes the calls of one script, one after another, until the window `closes`.

    One call in `stride` is timed. After a failure the script starts again, with new numbers.
    """

    new_script: Callable[[], Script]
    closes: float
    stride: int
    flight: TimeInFlight
    turn: int = 0
    made: int = 0
    # Calls with a correct reply, timed or not.
    answered: int = 0
    times: list[tuple[str, float, float, float]] = field(default_factory=list)
    # Seconds in flight of timed calls that failed.
    lost: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    why: str = ""
    _due: float = 0.0
    _sent: float = 0.0
    _script: Script = field(init=False)
    _call: Call = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._script = self.new_script()
        self._call = next(self._script)

    def begin(self, due: float | None = None) -> Call | None:
        """The next call. In a closed loop (`due` is None), None after the window has closed."""
        self.turn += 1
        # For untimed calls too: else each caller would end at its next timed call.
        now = monotonic()
        if due is None:
            if now >= self.closes:
                return None
            due = now
        if self.turn % self.stride:
            self._sent = 0.0
            return self._call
        self.made += 1
        self._due = due
        self.flight.change(1)
        self._sent = monotonic()
        return self._call

    def reply(self, result: Any) -> None:
        sent = self._sent
        if sent:
            method, ended = self._call.method, monotonic()
            self.flight.change(-1)
        try:
            self._call = self._script.send(result)
        except Exception as error:
            self._wrong(error)
            if sent:
                self.lost += ended - sent
        else:
            self.answered += 1
            if sent:
                self.times.append((method, self._due, sent, ended))

    def fail(self, error: BaseException) -> None:
        """The call failed. Its script may handle the error."""
        if self._sent:
            self.lost += monotonic() - self._sent
            self.flight.change(-1)
        try:
            self._call = self._script.throw(error)
        except Exception as raised:
            if raised is not error:
                self._wrong(raised)
                return
            self.why = self.why or f"{self._call.method}: {described(error)}"
            code = getattr(error, "code", None)
            self.errors[code if isinstance(code, str) else type(error).__name__] += 1
            self._start()

    def _wrong(self, error: Exception) -> None:
        self.wrong += 1
        self.why = self.why or described(error)
        self._start()


def described(error: BaseException) -> str:
    """The error in one line; if a script raised it, with file and line, the source line and the
    values of its names."""
    text, _, _ = f"{type(error).__name__}: {error}".partition("\n")
    text = text.rstrip(": ")
    theirs = [
        (frame, line)
        for frame, line in walk_tb(error.__traceback__)
        if not frame.f_globals.get("__name__", "").startswith("ringback.")
    ]
    if not theirs:
        return text
    frame, line = theirs[-1]
    code, local = frame.f_code, frame.f_locals
    source = linecache.getline(code.co_filename, line).strip()
    names = dict.fromkeys(re.findall(r"[^\W\d]\w*", source))
    values = ", ".join(f"{name} = {local[name]!r:.60}" for name in names if name in local)
    where = f"{Path(code.co_filename).name}:{line}"
    return f"{text} at {where}: {source}{f' with {values}' if values else ''}"
