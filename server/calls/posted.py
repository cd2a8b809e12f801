"""Queues functions from other threads for the serving loop."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ... import errors
from ...backends.base import Loop
from ...logs.bounded import Bounded


class Posted:
    """A thread-safe FIFO queue of functions to call on the serving loop.

    `begins` and `ended` are called before and after each turn that calls queued functions.
    """

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
        """Queue a call of the function for the serving loop. Thread-safe.

        All functions queued before the loop's next turn share one wake-up.
        """
        self._functions.append((function, args))
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._call_all)

    def _call_all(self) -> None:
        self._asked = False  # first, so that functions posted from here on request another turn
        self._begins()
        functions = self._functions
        for _ in range(len(functions)):
            function, args = functions.popleft()
            try:
                function(*args)
            except Exception as error:  # a fault of ringback: still call the others
                more = {"code": errors.ProtocolError.code}
                self._faults(
                    logging.ERROR,
                    "processing a report of a worker failed",
                    fields=more,
                    error=error,
                )
        self._ended()
