"""What a handler gets for an argument that streams: the client's items as an iterator, sync or async as the handler is.

A client sends no more items than it has credit for, and gets credit as the handler takes them: a slow handler holds its client back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from .. import errors
from ..backends.gates import AsyncGate, AsyncioGate, Gate, ThreadGate
from ..protocol.streams import WINDOW, AsyncItems, Items, SyncItems
from ..protocol.values import UNREADABLE, Unpacker

if TYPE_CHECKING:
    from .invocation import Invocation


class Input(Items):
    """The items for one argument: `kind` is their type, `name` the argument's. It is bound to its call before the call begins."""

    _call: Invocation

    def __init__(self, values: Unpacker, kind: Any, name: str) -> None:
        super().__init__()
        self._values = values
        self._kind = kind
        self._name = name
        self._allowed = 0
        self._count = 0

    def bind(self, call: Invocation) -> None:
        """On the serving loop, as all but the taking of items."""
        self._call = call
        self.gate = self.gate_of(call)
        self._allow(WINDOW)

    def gate_of(self, call: Invocation) -> Gate | AsyncGate:
        """Where the handler of that call can wait."""
        raise NotImplementedError

    def receive(self, value: Raw) -> None:
        """An item has come. Raises ProtocolError for one more than was asked for, InvalidArgument for one that does not fit."""
        if not self._allowed:
            raise errors.ProtocolError(f"an item for {self._call.method.name} that it gave no credit for")
        self._allowed -= 1
        self._count += 1
        self._values.taken = 0
        try:
            item = self._values.typed(value, self._kind)
        except UNREADABLE as error:
            text = f"{self._call.method.name}: item {self._count} of argument {self._name!r}: {error}"
            raise errors.InvalidArgument(text) from None
        self.arrived(item)

    def ended(self, error: BaseException | None) -> None:
        self._allowed = 0
        super().ended(error)

    def grant(self, items: int) -> None:
        self._call.dispatcher.post(self._allow, items)

    def _allow(self, items: int) -> None:
        if not self.over:
            self._allowed += items
            self._call.dispatcher.send_credit(self._call, items)


class SyncInput(Input, SyncItems):
    """For a handler in a worker."""

    def gate_of(self, call: Invocation) -> Gate:
        return ThreadGate() if call.served.in_thread else call.dispatcher.loop.worker_gate()


class AsyncInput(Input, AsyncItems):
    """For a coroutine or an async generator."""

    def gate_of(self, call: Invocation) -> AsyncGate:
        return call.dispatcher.loop.native_gate() if call.method.native else AsyncioGate()
