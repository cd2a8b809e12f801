"""What a handler gets for an argument that streams: the client's items as an iterator, sync or async as the handler is.

A client sends no more items than it has credit for, and gets credit as the handler takes them: a slow handler holds its client back.
What is unread counts among the server's bytes in flight.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

from msgspec import Raw

from .... import errors
from ....backends.asyncio_gate import AsyncioGate
from ....backends.gates import AsyncGate, Gate, ThreadGate
from ....protocol.streams import AsyncItems, Items, SyncItems, Window
from ....protocol.values import Unpacker
from ...declare.arguments import Streamed
from ...methods.table import ServedMethod
from ..memory import memory_of_item
from .host import CallHost


class InputCall(Protocol):
    """The call of which an input is an argument."""

    input: Input | None

    @property
    def served(self) -> ServedMethod: ...


class Input(Items):
    """The items for one argument. It is bound to its call before the call begins."""

    _host: CallHost
    _call: Any
    _served: ServedMethod
    _window: Window

    def __init__(self, values: Unpacker, argument: Streamed) -> None:
        super().__init__()
        self._values = values
        self._kind = argument.kind
        self._name = argument.name
        self._count = 0

    def bind(self, call: InputCall, host: CallHost) -> None:
        """On the serving loop, as all but the taking of items."""
        self._call = call
        self._served = call.served
        self._host = host
        self.gate = self.gate_of(call.served, host)
        self._window = Window(self._served.statistics.largest_item)
        self._allow()

    @abstractmethod
    def gate_of(self, served: ServedMethod, host: CallHost) -> Gate | AsyncGate:
        """Where a handler of that method can wait."""

    def receive(self, value: Raw) -> None:
        """An item has come. Raises ProtocolError for one more than was asked for, ResourceExhausted where the server has no room for it,
        InvalidArgument where it does not fit."""
        method, values, window = self._served.method.name, self._values, self._window
        if not window.allowed:
            raise errors.ProtocolError(f"an item for {method} that it gave no credit for")
        self._count += 1
        values.taken = 0
        try:
            item = values.typed(value, self._kind)
        except BaseException as error:
            text = f"{method}: item {self._count} of argument {self._name!r}: {errors.described(error)}"
            raise errors.InvalidArgument(text) from None
        size = memory_of_item(value, item, values.taken)
        self._host.charge(self._call, size)
        if window.arrived(size):
            self._allow()
        self.arrived(item)  # last: who takes it has to know of the window as it is now

    def ended(self, error: BaseException | None) -> None:
        self._window.allowed = 0
        super().ended(error)

    def grant(self, items: int) -> None:
        self._host.post(self._given, items)

    def _given(self, items: int) -> None:
        """The handler has taken so many. (Those that a call has left at its end are no longer counted.)"""
        call = self._call
        if call.input is self:
            window = self._window
            self._host.refund(call, window.taken(items))
            self._allow()
            # Where the window has become narrower, what was taken and not told may be all of it: nobody would ask again.
            if not self.over and not window.allowed and not self.items:
                window.allowed = 1
                self._host.send_credit(call, 1)

    def _allow(self) -> None:
        if not self.over:
            window = self._window
            more = window.more(self._host.room)
            self.batch = window.batch
            if more:
                self._host.send_credit(self._call, more)
            statistics = self._served.statistics  # from it the method's next call knows how to begin
            statistics.largest_item = max(statistics.largest_item, window.largest)


class SyncInput(Input, SyncItems):
    """For a handler in a worker."""

    def gate_of(self, served: ServedMethod, host: CallHost) -> Gate:
        return ThreadGate() if served.in_thread else host.loop.worker_gate()


class AsyncInput(Input, AsyncItems):
    """For a coroutine or an async generator."""

    def gate_of(self, served: ServedMethod, host: CallHost) -> AsyncGate:
        return host.loop.native_gate() if served.method.native else AsyncioGate()


def with_inputs(
    served: ServedMethod, values: Unpacker, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Input], tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call that has just been bound, with an input in the place of each that streams."""
    values.streamed = False
    kind = AsyncInput if served.method.is_async else SyncInput
    inputs: list[Input] = []

    def of(value: Any) -> Any:
        if type(value) is not Streamed:
            return value
        inputs.append(kind(values, value))
        return inputs[-1]

    args, kwargs = tuple(map(of, args)), {name: of(value) for name, value in kwargs.items()}
    return inputs, args, kwargs
