"""What a handler gets for an argument that streams: the client's items as an iterator, sync or async as the handler is.

A client sends no more items than it has credit for, and gets credit as the handler takes them: a slow handler holds its client back.
What is unread counts among the server's bytes in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from .. import errors
from ..backends.asyncio_gate import AsyncioGate
from ..backends.gates import AsyncGate, Gate, ThreadGate
from ..protocol.streams import AsyncItems, Items, SyncItems, Window
from ..protocol.values import Unpacker
from .weight import weight_of_item

if TYPE_CHECKING:
    from .invocation import Invocation


class Input(Items):
    """The items for one argument: `kind` is their type, `name` the argument's. It is bound to its call before the call begins."""

    _call: Invocation
    _window: Window

    def __init__(self, values: Unpacker, kind: Any, name: str) -> None:
        super().__init__()
        self._values = values
        self._kind = kind
        self._name = name
        self._count = 0

    def bind(self, call: Invocation) -> None:
        """On the serving loop, as all but the taking of items."""
        self._call = call
        self.gate = self.gate_of(call)
        self._window = Window(call.served.tally.largest_item)
        self._allow()

    def gate_of(self, call: Invocation) -> Gate | AsyncGate:
        """Where the handler of that call can wait."""
        raise NotImplementedError

    def receive(self, value: Raw) -> None:
        """An item has come. Raises ProtocolError for one more than was asked for, ResourceExhausted where the server has no room for it,
        InvalidArgument where it does not fit."""
        call, values, window = self._call, self._values, self._window
        if not window.allowed:
            raise errors.ProtocolError(f"an item for {call.method.name} that it gave no credit for")
        self._count += 1
        values.taken = 0
        try:
            item = values.typed(value, self._kind)
        except BaseException as error:
            text = f"{call.method.name}: item {self._count} of argument {self._name!r}: {errors.described(error)}"
            raise errors.InvalidArgument(text) from None
        size = weight_of_item(value, item, values.taken)
        call.dispatcher.hold(call, size)
        if window.arrived(size):
            self._allow()
        self.arrived(item)  # last: who takes it has to know of the window as it is now

    def ended(self, error: BaseException | None) -> None:
        self._window.allowed = 0
        super().ended(error)

    def grant(self, items: int) -> None:
        self._call.dispatcher.post(self._given, items)

    def _given(self, items: int) -> None:
        """The handler has taken so many. (Those that a call has left at its end are no longer counted.)"""
        call = self._call
        if call.input is self:
            window = self._window
            call.dispatcher.let_go(call, window.taken(items))
            self._allow()
            # Where the window has become narrower, what was taken and not told may be all of it: nobody would ask again.
            if not self.over and not window.allowed and not self.items:
                window.allowed = 1
                call.dispatcher.send_credit(call, 1)

    def _allow(self) -> None:
        if not self.over:
            call, window = self._call, self._window
            more = window.more(call.dispatcher.room)
            self.batch = window.batch
            if more:
                call.dispatcher.send_credit(call, more)
            tally = call.served.tally  # from it the method's next call knows how to begin
            tally.largest_item = max(tally.largest_item, window.largest)


class SyncInput(Input, SyncItems):
    """For a handler in a worker."""

    def gate_of(self, call: Invocation) -> Gate:
        return ThreadGate() if call.served.in_thread else call.dispatcher.loop.worker_gate()


class AsyncInput(Input, AsyncItems):
    """For a coroutine or an async generator."""

    def gate_of(self, call: Invocation) -> AsyncGate:
        return call.dispatcher.loop.native_gate() if call.method.native else AsyncioGate()
