"""Turns of the event loop that handle received messages: limited, and shared among connections."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ...backends import native
from ...backends.base import Loop
from ..memory import Holes
from ..turns import MESSAGES_PER_TURN, TURN, contain
from .intake import Intake


class QueuedConnection(Protocol):
    """A connection that may have several messages. `queued`: whether it waits for its turn."""

    queued: bool

    def step(self) -> bool:
        """Handle one message, or one part of a long one. True if it needs another turn."""


class Turns:
    """The queue of connections with more messages than one turn handles.

    Each turn handles one message of each connection in turn, so that none waits for all messages of
    another. `ended` is called after each turn. `unserved`: for a server, the maximum bytes received
    from all connections and not handled yet.
    """

    def __init__(
        self, loop: Loop, ended: Callable[[], object], unserved: int | None = None
    ) -> None:
        self._loop = loop
        self.intake = Intake(sys.maxsize, None) if unserved is None else Intake(unserved, Holes())
        self._ended = ended
        self.queue: deque[QueuedConnection] = deque()
        self.lock = native.allocate_lock()  # held while a connection writes to its socket

    def end(self) -> None:
        try:
            self._ended()
        except BaseException as error:
            self.contain(error)

    def contain(self, error: BaseException) -> None:
        """Handle an exception of a turn."""
        contain(self._loop, error, "connection turn failed")

    def add(self, stream: QueuedConnection) -> None:
        """Queue a connection that has more messages, or may have."""
        if not stream.queued:
            stream.queued = True
            self.queue.append(stream)
            if len(self.queue) == 1:
                self._loop.call_after_poll(self._turn)

    def _turn(self) -> None:
        queue = self.queue
        end = time.monotonic() + TURN
        for _ in range(MESSAGES_PER_TURN):
            if not queue:
                break
            stream = queue.popleft()
            stream.queued = False
            if stream.step():
                stream.queued = True
                queue.append(stream)
            if time.monotonic() >= end:
                break
        self.end()
        if queue:
            self._loop.call_after_poll(self._turn)
