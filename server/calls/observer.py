"""Records a server's calls for metrics and traces. Inactive unless one of them is on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from ... import errors
from ...metrics.recorder import OK, OTHER, CallRecorder
from ...protocol.bounds import MAX_MAPPED
from ...protocol.elements import array_length
from ...protocol.messages import Call, End, Error, Map, Notify, Refusal, Reply
from ...protocol.server import ServerMachine
from ...tracing import TRACE_CONTEXT
from ..methods.table import ServedMethod
from ..process.logs import shortened
from .invocations.batches import BatchedCall
from .invocations.invocation import Invocation

if TYPE_CHECKING:
    from ...tracing.spans import Tracing

_decode = msgspec.msgpack.Decoder(str).decode


class CallObserver:
    """The observer of one dispatcher.

    Check `active` before you call `begun`, `answered`, `over` or `refused`.
    """

    def __init__(
        self, methods: Mapping[str, ServedMethod], machine: ServerMachine, tracing: Tracing | None
    ) -> None:
        self._methods = methods
        self._machine = machine
        self._tracing = tracing
        self._recorder: CallRecorder | None = None
        self._in_flight: set[Invocation | BatchedCall] = set()
        self.active = tracing is not None
        if tracing is not None:
            machine.refused = self.refused
            for served in methods.values():
                served.immediate = False  # each call needs its own span, hence its own context

    def record(self, recorder: CallRecorder) -> None:
        """From now on, record how each call ends."""
        self._recorder = recorder
        self.active = True
        self._machine.refused = self.refused
        self._in_flight.update(
            call for call in self._machine.calls() if isinstance(call, (Invocation, BatchedCall))
        )
        for served in self._methods.values():
            served.ends = []

    def in_flight(self) -> Counter[str]:
        """Calls in flight by method. Thread-safe."""
        return Counter(call.method.name for call in self._in_flight.copy())

    def begun(self, call: Invocation | BatchedCall) -> None:
        """Record that a call is in flight."""
        self._in_flight.add(call)
        if self._tracing is not None and isinstance(call, Invocation) and not call.counted:
            metadata = {} if call.options is None else call.options.metadata
            call.span = self._tracing.handling(call.method.name, metadata, call.own_context)

    def continues(self, call: BatchedCall, single: Invocation) -> None:
        """Replace a call that leaves its batch with the object that continues it."""
        self._in_flight.discard(call)
        self._in_flight.add(single)

    def ran_at_once(self, served: ServedMethod, began: float) -> None:
        """Record the inline calls that ended in this turn. Their batch arrived at `began`."""
        assert self._recorder is not None
        ends, served.ends = served.ends, []
        assert ends is not None
        self._recorder.histogram(served.method.name, OK).add_since(began, ends)

    @property
    def traces(self) -> bool:
        """Whether each call has a span."""
        return self._tracing is not None

    def ran_slice(self, call: Invocation, well: int) -> None:
        """Record that `well` calls of one slice of a map succeeded."""
        if self._recorder is not None and well:
            now = time.monotonic()
            self._recorder.histogram(call.method.name, OK).add_since(call.came, [now] * well)

    def failed_in_slice(self, call: Invocation, code: str) -> None:
        """Record that one call of a slice failed."""
        if self._recorder is not None:
            self._recorder.ended(call.method.name, code, time.monotonic() - call.came)

    def answered(
        self, call: Invocation | BatchedCall, message: Reply | Error | Refusal | End
    ) -> None:
        """Record that a call has ended for its client."""
        if call.counted:
            return
        if type(message) is Error or type(message) is Refusal:
            self._ended(call, message.code, message.message)
        else:
            self._ended(call, OK)

    def over(self, call: Invocation | BatchedCall) -> None:
        """Record that a call's handler has ended.

        A call without a reply counts as Cancelled: its client has cancelled it or disconnected.
        """
        self._in_flight.discard(call)
        if not call.counted:
            self._ended(call, errors.Cancelled.code)

    def refused(self, message: Call | Notify, code: str, text: str) -> None:
        """Record a call that was refused before its handler ran."""
        known = message.method in self._methods
        if self._recorder is not None:
            for _ in range(_calls_of(message)):
                self._recorder.ended(message.method if known else OTHER, code, 0.0)
        if self._tracing is not None:
            metadata = {} if message.options is None else message.options.metadata
            carrier = {name: _text(metadata.get(name)) for name in TRACE_CONTEXT}
            self._tracing.refused(shortened(message.method), carrier, code, text, known=known)

    def close(self) -> None:
        """Record the calls in flight as Cancelled. Their threads may still run."""
        for call in self._in_flight:
            if not call.counted:
                self._ended(call, errors.Cancelled.code)
        self._in_flight.clear()

    def _ended(self, call: Invocation | BatchedCall, code: str, text: str = "") -> None:
        call.counted = True
        if self._recorder is not None:
            seconds = time.monotonic() - call.came
            self._recorder.ended(call.method.name, code, seconds, is_stream=call.method.is_stream)
        if call.span is not None:
            call.span.end(code, text)


def _calls_of(message: Call | Notify) -> int:
    """The number of calls in a message."""
    if type(message) is not Map:
        return 1
    return min(array_length(bytes(message.args)[:5], 0), MAX_MAPPED) if message.args else 1


def _text(value: Any) -> str:
    """A metadata value as a string; "" for any other type. It may be decoded already."""
    if isinstance(value, Raw):
        try:
            return _decode(value)
        except Exception:  # not a string
            return ""
    return value if isinstance(value, str) else ""
