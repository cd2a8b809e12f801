"""Arguments that stream: a handler receives the client's items as an iterator, sync or async.

A client sends only as many items as it has credit for, and gets credit as the handler takes items.
So a slow handler slows down its client (backpressure). Unread items count towards the server's
bytes in flight.
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
    """The call that an input is an argument of."""

    input: Input | None

    @property
    def served(self) -> ServedMethod: ...


class Input(Items):
    """The items of one argument. `bind` attaches it to its call before the call starts."""

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
        """Attach it to its call. As all but taking items, this runs on the serving loop."""
        self._call = call
        self._served = call.served
        self._host = host
        self.gate = self.gate_of(call.served, host)
        self._window = Window(self._served.statistics.largest_item)
        self._allow()

    @abstractmethod
    def gate_of(self, served: ServedMethod, host: CallHost) -> Gate | AsyncGate:
        """A gate on which a handler of the method can wait."""

    def receive(self, value: Raw) -> None:
        """Take an item from the client.

        Raises ProtocolError if the client had no credit, ResourceExhausted if the server has no
        room, and InvalidArgument if the item does not match the annotation.
        """
        method, values, window = self._served.method.name, self._values, self._window
        if not window.allowed:
            raise errors.ProtocolError(f"an item for {method}, for which the client had no credit")
        self._count += 1
        values.taken = 0
        try:
            item = values.typed(value, self._kind)
        except BaseException as error:
            text = (
                f"{method}: item {self._count} of argument {self._name!r}: "
                f"{errors.described(error)}"
            )
            raise errors.InvalidArgument(text) from None
        size = memory_of_item(value, item, values.taken)
        self._host.charge(self._call, size)
        if window.arrived(size):
            self._allow()
        self.arrived(item)  # last, since the taker reads the new window

    def ended(self, error: BaseException | None) -> None:
        self._window.allowed = 0
        super().ended(error)

    def grant(self, items: int) -> None:
        self._host.post(self._given, items)

    def _given(self, items: int) -> None:
        """Count items that the handler has taken.

        The end of a call releases its untaken items, so nothing is counted after it.
        """
        call = self._call
        if call.input is self:
            window = self._window
            self._host.refund(call, window.taken(items))
            self._allow()
            # If the window has shrunk, all of it may be taken but unreported. Then no credit would
            # follow, so send credit for one item.
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
            statistics = self._served.statistics  # the method's next call starts from it
            statistics.largest_item = max(statistics.largest_item, window.largest)


class SyncInput(Input, SyncItems):
    """The input of a handler in a worker."""

    def gate_of(self, served: ServedMethod, host: CallHost) -> Gate:
        return ThreadGate() if served.in_thread else host.loop.worker_gate()


class AsyncInput(Input, AsyncItems):
    """The input of a coroutine or an async generator."""

    def gate_of(self, served: ServedMethod, host: CallHost) -> AsyncGate:
        return host.loop.native_gate() if served.method.native else AsyncioGate()


def with_inputs(
    served: ServedMethod, values: Unpacker, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Input], tuple[Any, ...], dict[str, Any]]:
    """Replace each streamed argument by an Input. Call it just after the arguments were bound."""
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
