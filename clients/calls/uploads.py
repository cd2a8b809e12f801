"""A streaming argument: advances its iterator beside the caller, within the server's credit.

It runs in its own thread, greenlet, task or coroutine, so the call ends on time whatever the
iterator does.
"""

from __future__ import annotations

import inspect
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from ... import errors
from ...backends.blocking import BlockingLoop
from ...backends.gates import AsyncGate, Gate
from ...logs.errorlog import log_error
from ...protocol.values import pack
from ..connections.core import ClientCore
from ..conversation import calls

log = logging.getLogger("ringback.client")


def _ended(result: Any, error: BaseException | None) -> None:
    """Does nothing: the coroutine handles its own outcome."""


class _Upload(calls.Upload):
    _gate: Gate | AsyncGate

    def __init__(self, core: ClientCore, call: calls.OutgoingCall, iterator: Any) -> None:
        super().__init__()
        self._core = core
        self._call = call
        self._iterator = iterator
        self._context = copy_context()
        self._stopped = False
        self._interrupt: Callable[[], object] | None = None

    def begin(self) -> None:
        if not self._stopped:
            self._interrupt = self._spawn()

    def credit(self, items: int) -> None:
        self.allowed += items
        self._gate.open()

    def go_on(self) -> None:
        self._gate.open()

    def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._gate.open()
            if self._interrupt is not None:
                self._interrupt()

    @abstractmethod
    def _spawn(self) -> Callable[[], object] | None:
        """Advance the iterator beside the caller.
        Returns the function that stops this, or None if it cannot be stopped."""

    def _send(self, item: Any) -> None:
        try:
            value = pack(item, self._core.machine.max_size)
        except errors.ResourceExhausted as error:
            raise errors.ResourceExhausted(
                f"an item for {self._call.method} is too large: {error}"
            ) from None
        except Exception as error:
            text = f"an item for {self._call.method} cannot be sent: {errors.described(error)}"
            raise errors.InvalidArgument(text) from None
        self.sent += 1
        self._do(self._core.machine.send_item, self._call, value)

    def _do(self, function: Callable[..., object], *args: Any) -> None:
        """Call a sending method of the machine."""
        self._core.loop.turn(self._core.do, function, *args, time.monotonic())

    def _end(self) -> None:
        self._do(self._core.machine.end_items, self._call)

    def _fail(self, error: BaseException) -> None:
        """End the call with the iterator's error."""
        self._stopped = True
        text = f"the iterator for {self._call.method} ended with {errors.described(error)}"
        ending = error if errors.is_a(error, Exception) else errors.Cancelled(text)
        self._core.loop.turn(self._core.cancel, self._call, ending)


class SyncUpload(_Upload):
    """An upload in a thread or a greenlet."""

    _gate: Gate

    def __init__(
        self, core: ClientCore, loop: BlockingLoop, call: calls.OutgoingCall, iterator: Any
    ) -> None:
        super().__init__(core, call, iterator)
        self._loop = loop
        self._gate = loop.gate()

    def _spawn(self) -> Callable[[], object] | None:
        return self._loop.spawn(self._run, self._context)

    def _run(self) -> None:
        iterator: Iterator[Any] = self._iterator
        try:
            while not self._stopped:
                if self.sent < self.allowed and not self.held:
                    self._send(next(iterator))
                else:
                    self._gate.wait()
        except StopIteration:
            self._end()
        except BaseException as error:
            self._fail(error)
        finally:
            if inspect.isgenerator(iterator):
                with _logged(self._call.method):
                    iterator.close()


class AsyncUpload(_Upload):
    """An upload in a coroutine of the client's loop.
    A sync iterator runs on the loop and must not block."""

    _gate: AsyncGate

    def __init__(self, core: ClientCore, call: calls.OutgoingCall, iterator: Any) -> None:
        super().__init__(core, call, iterator)
        self._gate = core.loop.native_gate()

    def _spawn(self) -> Callable[[], object]:
        return self._core.loop.run_native(self._run(), _ended, self._context).cancel

    async def _run(self) -> None:
        given = self._iterator
        iterator: AsyncIterator[Any] = given if hasattr(given, "__anext__") else _stepwise(given)
        try:
            while not self._stopped:
                if self.sent < self.allowed and not self.held:
                    self._send(await anext(iterator))
                else:
                    await self._gate.wait()
        except StopAsyncIteration:
            self._end()
        except BaseException as error:
            self._fail(error)
        finally:
            if inspect.isasyncgen(iterator):
                with _logged(self._call.method):
                    await iterator.aclose()


@contextmanager
def _logged(method: str) -> Iterator[None]:
    """Log what a user's generator raises when it is closed: its call has ended already."""
    try:
        yield
    except BaseException as error:
        log_error(log, "the iterator for %s raised when it was closed", method, error=error)


async def _stepwise(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        for item in iterator:
            yield item
    finally:
        if inspect.isgenerator(iterator):
            iterator.close()
