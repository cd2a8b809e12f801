"""What other threads have done on the serving loop."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ... import errors
from ...backends.base import Loop
from ...logs.bounded import Bounded


class Posted:
    """Functions that wait for the serving loop, in order. `begins` and `ended` are called around each turn in which some are called."""

    def __init__(
        self, loop: Loop, faults: Bounded, begins: Callable[[], object], ended: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._faults = faults
        self._begins = begins
        self._ended = ended
        self._functions: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._asked = False

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Call the function on the serving loop, from any thread, with one wake-up for all that gather meanwhile."""
        self._functions.append((function, args))
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._call_all)

    def _call_all(self) -> None:
        self._asked = False  # first: what is posted from here on asks for another turn
        self._begins()
        functions = self._functions
        for _ in range(len(functions)):
            function, args = functions.popleft()
            try:
                function(*args)
            except Exception as error:  # of ringback's own: the others are to be called all the same
                more = {"code": errors.ProtocolError.code}
                self._faults(logging.ERROR, "a report of a handler failed", fields=more, error=error)
        self._ended()
