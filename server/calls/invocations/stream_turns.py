"""Streams take turns by client, where generators run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ....protocol.server import Session

# Streams that are submitted and have not begun to run.
AHEAD = 4


class TakesTurns(Protocol):
    """`submitted`: its turn has come, and it has not begun to run."""

    submitted: bool

    @property
    def session(self) -> Session: ...


S = TypeVar("S", bound=TakesTurns)


class StreamTurns(Generic[S]):
    """The streams that can go on, until they run. One client with thousands of streams does not delay those of others.

    `submit(stream)` has it run where its generator runs, and may raise; `post(function)` calls the function on the serving loop, from
    any thread; `failed(stream, error)` reports a stream that could not be submitted.
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
        self._waiting: dict[Session, deque[S]] = {}  # the client whose turn is next first
        self._submitted = 0  # streams that had not begun to run, when the loop last looked
        self._begun: deque[None] = deque()  # an entry for each that has begun since; any thread appends

    def add(self, stream: S) -> None:
        """The stream goes on when it is its client's turn."""
        self._waiting.setdefault(stream.session, deque()).append(stream)
        self.go_on()

    def begun(self, stream: S) -> None:
        """A submitted stream has begun to run, or never will. Called where it runs."""
        if not stream.submitted:
            return
        stream.submitted = False
        self._begun.append(None)
        if self._waiting:  # read after the append: `go_on` reads the two in the other order
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
