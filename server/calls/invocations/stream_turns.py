"""Clients take turns at running their streams' generators."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ....protocol.server import Session

# Maximum streams that are submitted and have not begun to run.
AHEAD = 4


class TakesTurns(Protocol):
    """A stream. It is `submitted` from its turn until it begins to run."""

    submitted: bool

    @property
    def session(self) -> Session: ...


S = TypeVar("S", bound=TakesTurns)


class StreamTurns(Generic[S]):
    """A fair queue of streams that are ready to run.

    A client with thousands of streams does not delay the streams of others.

    - `submit(stream)` runs it in the place of its generator. It may raise.
    - `post(function)` calls the function on the serving loop. Thread-safe.
    - `failed(stream, error)` reports a stream that could not be submitted.
    """

    def __init__(
        self,
        submit: Callable[[S], object],
        post: Callable[[Callable[[], object]], object],
        failed: Callable[[S, BaseException], object],
    ) -> None:
        self._submit = submit
        self._post = post
        self._failed = failed
        self._waiting: dict[Session, deque[S]] = {}  # the next client first
        self._submitted = 0  # as of the loop's last check
        self._begun: deque[None] = deque()  # one entry for each start since; any thread appends

    def add(self, stream: S) -> None:
        """Queue a stream until its client's turn."""
        self._waiting.setdefault(stream.session, deque()).append(stream)
        self.go_on()

    def begun(self, stream: S) -> None:
        """Report that a submitted stream has begun to run, or never will. Called where it runs."""
        if not stream.submitted:
            return
        stream.submitted = False
        self._begun.append(None)
        if self._waiting:  # after the append, since `go_on` reads them in reverse order
            self._post(self.go_on)

    def go_on(self) -> None:
        """Submit streams while there is room."""
        while self._waiting:
            while self._begun:
                self._begun.popleft()
                self._submitted -= 1
            if self._submitted >= AHEAD:
                return
            session = next(iter(self._waiting))
            streams = self._waiting.pop(session)
            stream = streams.popleft()
            if streams:
                self._waiting[session] = streams
            self._submitted += 1
            stream.submitted = True
            try:
                self._submit(stream)
            except BaseException as error:
                self._submitted -= 1
                stream.submitted = False
                self._failed(stream, error)
