"""Calls that stream their results.

A generator runs while its client has credit and reads, then it rests. A resting generator holds no
worker and no task. So a slow reader costs only the memory of one generator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from .... import errors
from ....backends.asyncio_thread import leaving
from ....handling import handling
from ....protocol.messages import End
from ....protocol.values import size
from ....runtime import forks
from .invocation import Invocation
from .stream_turns import StreamTurns

# Bytes of items after which a generator pauses. The loop sends them, and checks whether the client
# reads.
AT_ONCE = 1 << 20


class StreamInvocation(Invocation):
    """A call whose handler is a generator or an async generator.

    `allowed` and `sent` count items. The serving loop alone writes `allowed`, and the generator's
    place alone writes `sent`. Only the loop uses `runs`: at every rest it checks again whether
    credit has come meanwhile.
    """

    __slots__ = ("allowed", "runs", "sent", "source", "submitted")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.allowed = 0
        self.sent = 0
        self.runs = False
        self.submitted = False  # see `TakesTurns`
        self.source: Any = None

    @property
    def _may_go_on(self) -> bool:
        """Whether its client accepts items: it has given credit, and reads."""
        return self.sent < self.allowed and not self.session.rests

    def start(self) -> None:
        self.runs = True
        if self.method.inline:
            self._advance()
        else:
            self._turns.add(self)

    @property
    def _turns(self) -> StreamTurns[StreamInvocation]:
        return self.host.stream_turns(self.method)

    def submit(self) -> None:
        """Run or resume the generator in its place."""
        method, loop = self.method, self.host.loop
        if method.is_async_stream:
            self.handle = loop.run_coroutine(
                self._advance_async(), self._rested_async, self.own_context
            )
        elif method.executor == "thread":
            self.handle = loop.run_in_thread(self._advance_in_worker)
        else:
            self.handle = loop.run_in_worker(self._advance_in_worker)

    def credit(self, items: int) -> None:
        self.allowed += items
        if self.source is not None and not self.runs and self._may_go_on:
            self.begin()

    def cancel(self) -> None:
        if self.runs:
            super().cancel()
        elif self.source is not None:
            self.begin()  # closes the generator in its place, as the call has ended

    def _advance_in_worker(self) -> None:
        self._turns.begun(self)
        self._advance()

    def _advance(self) -> None:
        """Run the generator, in a worker or inline on the loop."""
        try:
            over, failure = self.within(self._advanced), None
        except BaseException as error:
            over, failure = True, error
        self.host.post(self._rested, over, failure)

    def _advanced(self) -> bool:
        """Send items until the credit is used up. True if the generator has ended."""
        generation = forks.generation
        if self.source is None:
            if self.ended:
                return True
            self.source = iter(self.method.function(*self.args, **self.kwargs))
        source: Iterator[Any] = self.source
        session, post, send = self.session, self.host.post, self.host.send_item
        try:
            made = 0
            while self.sent < self.allowed and made < AT_ONCE and not (self.ended or session.rests):
                item: Any = self.pack(next(source))
                made += 9 if type(item) is int else size(item)
                if forks.generation != generation:
                    self.host.came_back(self.method.name)
                self.sent += 1
                post(send, self, item)
            if not self.ended:
                return False
        except StopIteration:
            return True
        except BaseException:
            source.close()  # type: ignore[attr-defined] # a generator
            raise
        source.close()  # type: ignore[attr-defined]
        return True

    async def _advance_async(self) -> bool:
        self._turns.begun(self)
        handling.set(self)
        try:
            return await self._advanced_async()
        except BaseException as error:
            self.host.came_back(self.method.name, error)
            if errors.is_a(error, (SystemExit, KeyboardInterrupt)):
                raise leaving(error) from None
            raise

    async def _advanced_async(self) -> bool:
        generation = forks.generation
        if self.source is None:
            self.source = self.method.function(*self.args, **self.kwargs)
        source: AsyncIterator[Any] = self.source
        session, post, send = self.session, self.host.post, self.host.send_item
        try:
            made = 0
            while self.sent < self.allowed and made < AT_ONCE and not (self.ended or session.rests):
                item: Any = self.pack(await anext(source))
                made += 9 if type(item) is int else size(item)
                if forks.generation != generation:
                    self.host.came_back(self.method.name)
                self.sent += 1
                post(send, self, item)
            if not self.ended:
                return False
        except StopAsyncIteration:
            return True
        except BaseException:
            await source.aclose()  # type: ignore[attr-defined]
            raise
        await source.aclose()  # type: ignore[attr-defined]
        return True

    def _rested_async(self, over: Any, failure: BaseException | None) -> None:
        self.host.post(self._rested, failure is not None or over, failure)

    def _rested(self, over: bool, failure: BaseException | None) -> None:
        """Resume or complete the stream. On the serving loop, after all items sent before."""
        self.runs = False
        if self.submitted:  # cancelled before it began
            self._turns.begun(self)
        if over:
            self.source = None
            self.host.complete(self, None, failure)
        elif self.ended or self._may_go_on:
            self.begin()

    def success(self, result: Any) -> End:  # noqa: ARG002 - a stream has no result
        return End(self.id)
