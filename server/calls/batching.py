"""Starts the calls of worker methods that arrived together.

Calls with the same method and timeout form a batch. A single call starts by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import errors
from ...protocol.messages import Call
from ...protocol.server import Session
from ..declare.arguments import NO_NAMES
from ..methods.table import ServedMethod
from .active import ActiveCalls
from .deadlines import deadline_of
from .invocations.batches import BatchedCall, WorkerBatch
from .memory import ELEMENT, encoded, memory_of
from .refusals import Refusals

# Calls that arrived together, with their arguments, by method and timeout in milliseconds.
CallsTogether = dict[tuple[str, int | None], list[tuple[Call, tuple[Any, ...]]]]


class Batches:
    """The batches of one dispatcher. `begin_one` starts a single call."""

    def __init__(
        self,
        active: ActiveCalls,
        methods: Mapping[str, ServedMethod],
        refusals: Refusals,
        begin_one: Callable[..., object],
    ) -> None:
        self._active = active
        self._methods = methods
        self._refusals = refusals
        self._begin_one = begin_one

    def begin(
        self,
        session: Session,
        together: CallsTogether,
        now: float,
    ) -> None:
        """Start calls that arrived together."""
        for (name, timeout), those in together.items():
            served = self._methods[name]
            # A single call also joins the batches while the client has calls waiting there. So the
            # client's calls keep their order.
            assert served.batches is not None
            if len(those) == 1 and session not in served.batches.lines:
                ((message, args),) = those
                self._begin_one(
                    session, message, served, args, NO_NAMES, (), now, encoded(message), None
                )
            else:
                self._begin_batch(
                    session, served, those, deadline_of(served.method, timeout, now), now
                )
        together.clear()

    def _begin_batch(
        self,
        session: Session,
        served: ServedMethod,
        those: Sequence[tuple[Call, tuple[Any, ...]]],
        deadline: float | None,
        now: float,
    ) -> None:
        active = self._active
        batch = WorkerBatch(active, session, served, deadline, now)
        batched, calls, quota, free = batch.batched, session.calls, session.quota, active.free
        # An upper bound of the memory. Usually there is room, so that one check admits all calls.
        most = (ELEMENT + 1) * sum([len(message.args) for message, _ in those])
        surely = active.in_flight.admits(quota, len(those), most)
        for message, args in those:
            memory = memory_of(
                message, args, NO_NAMES, len(message.args), free if surely else active.free
            )
            full = "" if surely else active.in_flight.admit(quota, memory)
            if full:
                self._refusals.refuse(session, message, errors.ResourceExhausted(full))
            else:
                call = calls[message.id] = BatchedCall(session, message.id, batch, args, memory)
                batched.append(call)
        if surely:
            active.in_flight.hold(quota, sum([call.memory for call in batched]), len(batched))
        if active.observer.active:
            for call in batched:
                active.observer.begun(call)
        if batched:
            batch.calls = len(batched)
            if deadline is not None:
                active.expire_at(deadline, batch)
            active.launcher.take(batch, now)
