"""Dispatches calls: finds the method, checks the arguments, and runs the handler in its place.

It knows the event loop only by its interface, and the wire only by its messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context
from itertools import chain
from typing import TYPE_CHECKING, Any

from ... import errors
from ...backends.base import Loop
from ...handling import batch, handling
from ...interceptors import Interception
from ...protocol.bounds import FRAME_BYTES
from ...protocol.collisions import FEW_BYTES
from ...protocol.messages import Call, MethodFlags, Notify, Reply
from ...protocol.server import ServerMachine, Session
from ...protocol.values import Unpacker, pack
from ...runtime import forks
from ...state.store import State
from ..declare.arguments import NO_NAMES, read_metadata
from ..declare.service import Service, reserved
from ..methods.once import KeyedRun, Once
from ..methods.statistics import MethodStatistics
from ..methods.table import MethodTable, ServedMethod
from ..options import SchedulingOptions
from ..process.logs import shortened
from .active import ActiveCalls
from .batching import Batches, CallsTogether
from .deadlines import deadline_of
from .invocations.cached import cached
from .invocations.inputs import Input, with_inputs
from .invocations.invocation import VALUES, InlineBatch, Invocation
from .invocations.streams import StreamInvocation
from .memory import memory_of, memory_of_options, size_of
from .refusals import Refusals
from .reports import Reports
from .versions import ServiceVersions

if TYPE_CHECKING:
    from ...tracing.spans import Tracing

# Maximum seconds that a call waits for a replica to catch up. After that, another server is better.
PATIENCE = 0.5


class Dispatcher:
    """Starts the calls of one server. `active` tracks them from then on."""

    def __init__(
        self,
        service: Service,
        loop: Loop,
        machine: ServerMachine,
        answered: Callable[[Session], object],
        scheduling: SchedulingOptions,
        state: State | None = None,
        visible: Callable[[Session], Mapping[str, MethodFlags] | None] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._in_flight = machine.in_flight
        self._interceptors = service.interceptors
        self._versions = ServiceVersions(service.name, state)
        table = MethodTable(service, loop, scheduling, state, replica=self._versions.of_replica)
        self.reports = Reports(service, loop, machine, table)
        methods = [*service.methods.values(), reserved("ringback.stats", self.reports.stats)]
        if visible is not None:
            methods.append(reserved("ringback.describe", self.reports.described(visible)))
        self.methods = self.reports.methods = {
            method.name: table.serve(method) for method in methods
        }
        self.active = ActiveCalls(
            loop,
            machine,
            answered,
            table,
            self.methods,
            self._versions,
            self._interceptors,
            state,
            tracing,
        )
        self._observer = self.active.observer
        self.refusals = Refusals(self.methods, self._observer)
        self._batches = Batches(self.active, self.methods, self.refusals, self._start)
        for served in self.methods.values():
            if not self._observer.traces:
                table.batch(served)
        self._generation = forks.generation

    @property
    def intercepts(self) -> bool:
        return bool(self._interceptors)

    def dispatch(
        self, session: Session, messages: Iterable[Call | Notify], values: Unpacker
    ) -> None:
        """Start the calls that a session's machine has accepted."""
        values.streamed = False
        values.taken = 0
        rest = iter(messages)
        undone: Call | Notify | None = None
        while True:
            context = Context()
            those = rest if undone is None else chain((undone,), rest)
            undone = context.run(self._dispatch, context, session, those, values)
            if undone is None:
                return

    def _dispatch(
        self,
        context: Context,
        session: Session,
        messages: Iterable[Call | Notify],
        values: Unpacker,
    ) -> Call | Notify | None:
        """Start calls in `context`, which is empty at first.

        Once a handler sets a variable there, this returns the next message, which must not see it.
        The caller dispatches that message in a new context. None after the last message.
        """
        now = time.monotonic()
        methods, interceptors, limit = self.methods, self._interceptors, session.max_size
        active = self.active
        inline: MethodStatistics | None = None
        timed: list[ServedMethod] = []  # methods whose inline calls are to be recorded
        undone: Call | Notify | None = None
        batch.set(InlineBatch(session, now, active))
        handling.set(None)
        few = 0 if values.frames else FEW_BYTES  # below these bytes, `short` decodes the arguments
        together: CallsTogether = {}
        for message in messages:
            if len(context) > 2:
                undone = message
                break
            served = methods.get(message.method)
            if served is None:
                text = f"there is no method {shortened(message.method)!r}"
                self.refusals.refuse(session, message, errors.MethodNotFound(text))
                continue
            method = served.method
            args, kwargs = None, NO_NAMES
            short, options = served.short, message.options
            if (
                options is None
                and short is not None
                and len(message.args) < few
                and message.kwargs is None
            ):
                try:
                    args = short(message.args)
                except BaseException:  # noqa: S110 - `bind` raises the error to report
                    pass
                else:
                    pace = served.pace
                    if (
                        pace is not None
                        and pace.until <= now
                        and type(message) is Call
                        and not message.credit
                        and not interceptors
                        and session not in served.queue.lines  # type: ignore[union-attr]
                    ):
                        alike = message.method, message.timeout
                        those = together.get(alike)
                        if those is None:
                            together[alike] = [(message, args)]
                        else:
                            those.append((message, args))
                        continue
            if args is None:
                values.taken = 0
                try:
                    args, kwargs = served.bind(values, message.args, message.kwargs)
                    if options is not None:
                        read_metadata(method.name, options)
                except errors.InvalidArgument as error:
                    self.refusals.refuse(session, message, error)
                    continue
            if (
                type(message) is Call
                and served.immediate
                and not message.credit
                and not interceptors
                and (options is None or options.versions is None)
            ):
                # The hot path. The handler runs here, so its call is not counted in flight. Calls
                # share one context until a handler sets a variable in it.
                handling.set(message)
                try:
                    result = method.function(*args, **kwargs)
                except BaseException as error:
                    active.came_back(method.name, error)
                    active.finish_inline(session, message, served, None, error, now)
                    continue
                if self._generation != forks.generation:
                    active.came_back(method.name)
                kind = type(result)
                if kind in VALUES:
                    try:
                        # `pack` returns shorter bytes unchanged.
                        if kind is not bytes or len(result) >= FRAME_BYTES:
                            result = pack(result, limit)
                        session.outbox.append(Reply(message.id, result))
                        inline = served.statistics
                        inline.calls += 1
                        ends = served.ends
                        if ends is not None:
                            if not ends:
                                timed.append(served)
                            ends.append(time.monotonic())
                        continue
                    except BaseException:  # noqa: S110 - `finish_inline` reports the error
                        pass
                active.finish_inline(session, message, served, result, None, now)
                continue
            if together:  # they arrived before this message
                self._batches.begin(session, together, now)
            size = size_of(message, values)
            inputs: Sequence[Input] = ()
            if values.streamed:
                inputs, args, kwargs = with_inputs(served, values, args, kwargs)
            run = None
            if served.once is not None:
                run = self._run_of(session, message, served.once, values, size)
                if run is None:
                    continue
            if type(message) is Call:
                self._start(session, message, served, args, kwargs, inputs, now, size, run)
            else:
                self._start_note(session, message, served, args, kwargs, inputs, now, size, run)  # type: ignore[arg-type]
        if together:
            self._batches.begin(session, together, now)
        active.now = 0.0
        if inline is not None:
            inline.took(time.monotonic() - now)
        for served in timed:
            self._observer.ran_at_once(served, now)
        return undone

    def _start(
        self,
        session: Session,
        message: Call,
        served: ServedMethod,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: Sequence[Input],
        now: float,
        size: int,
        run: KeyedRun | None,
    ) -> None:
        method = served.method
        error: errors.CallError | None = None
        if method.is_stream is not (message.credit > 0):
            use = "a stream: use client.stream"
            if not method.is_stream:
                use = "not a stream: use client.call"
            error = errors.FailedPrecondition(f"{method.name} is {use}")
        elif len(inputs) > 1:
            error = errors.InvalidArgument(f"{method.name}: only one argument may be a stream")
        elif inputs and session.client is not session:
            text = f"{method.name}: one of many calls takes no stream as an argument"
            error = errors.InvalidArgument(text)
        elif inputs and served.executor is not None:
            text = f"{method.name}: it runs in another process, which cannot receive a stream"
            error = errors.InvalidArgument(text)
        elif served.never:
            text = f"{method.name} can never run here: {served.never}"
            error = errors.FailedPrecondition(text)
        if error is not None:
            self.refusals.refuse(session, message, error)
            return
        active = self.active
        kind: Callable[..., Invocation] = StreamInvocation if method.is_stream else Invocation
        if served.cached is not None and not inputs:
            kind = cached(message, size) or Invocation
        taken = self._memory(message, args, kwargs, size)
        full = self._in_flight.admit(session.quota, taken)
        if full:
            self.refusals.refuse(session, message, errors.ResourceExhausted(full))
            return
        deadline = deadline_of(method, message.timeout, now)
        call = kind(
            active, session, message.id, served, args, kwargs, deadline, message.options, now
        )
        session.calls[message.id] = call
        call.memory = taken
        call.run = run
        if self._observer.active:
            self._observer.begun(call)
        if deadline is not None and not method.inline:
            active.expire_at(deadline, call)
        if method.is_stream:
            call.credit(message.credit)
        if inputs:
            (call.input,) = inputs
            call.input.bind(call, active)
            if message.id in session.ended_early:
                call.end_input()
        version = 0 if call.versions is None else self._versions.lacks(call.options)
        if version:
            self._wait_for_version(call, version, now)
        else:
            self._begin(call, now)

    def _start_note(
        self,
        session: Session,
        message: Notify,
        served: ServedMethod,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: Sequence[Input],
        now: float,
        size: int,
        run: KeyedRun | None,
    ) -> None:
        why = served.never
        taken = self._memory(message, args, kwargs, size)
        if served.method.is_stream:
            why = "it is a stream"
        elif inputs:
            why = "a one-way call cannot carry a stream"
        elif not self.active.serving:
            why = "the server is shutting down"
        why = why or self._in_flight.admit(session.quota, taken)
        if why:
            self.refusals.refuse(session, message, errors.FailedPrecondition(why))
            return
        call = Invocation(self.active, session, 0, served, args, kwargs, None, message.options, now)
        call.memory = taken
        call.run = run
        if self._observer.active:
            self._observer.begun(call)
        self._begin(call, now)

    def _memory(
        self, message: Call | Notify, args: tuple[Any, ...], kwargs: dict[str, Any], size: int
    ) -> int:
        """The bytes to count for a call while it is in flight."""
        memory, options = memory_of(message, args, kwargs, size, self.active.free), message.options
        return memory if options is None else memory + memory_of_options(options)

    def _run_of(
        self,
        session: Session,
        message: Call | Notify,
        once: Once,
        values: Unpacker,
        size: int,
    ) -> KeyedRun | None:
        """The KeyedRun of a call that runs once per key. None if the call was refused."""
        try:
            return once.run_of(message, values, size)
        except errors.InvalidArgument as error:
            self.refusals.refuse(session, message, error)
            return None

    def _wait_for_version(self, call: Invocation, version: int, now: float) -> None:
        """Start the call once this replica has reached `version`, or refuse it after a timeout.

        The call is accepted, but it holds no worker or other resource while it waits.
        """
        seconds = (
            PATIENCE if call.deadline is None else max(0.0, min(PATIENCE, call.deadline - now))
        )
        over = False

        def caught_up() -> None:
            nonlocal over
            if not over:
                over = True
                timer.cancel()
                self._go_on_with(call)

        def too_late() -> None:
            nonlocal over
            if not over:
                over = True
                behind = call_off()
                text = (
                    f"this replica is {behind:,} versions behind version {version:,}, "
                    "which the caller has seen"
                )
                self.active.refuse(call, errors.Unavailable(text, started=False))

        timer = self.active.loop.call_later(seconds, too_late)
        call_off = self._versions.when_reached(version, lambda: self.active.post(caught_up))

    def _go_on_with(self, call: Invocation) -> None:
        """Start a call, now that the replica has reached its version."""
        if call.ended:
            call.drop()
        else:
            self._begin(call, time.monotonic())

    def _begin(self, call: Invocation, now: float) -> None:
        if self._interceptors:
            interception = call.interception = Interception()
            goes_on, result, error = call.within(
                interception.enter, self._interceptors, call.current()
            )
            if not goes_on:
                call.interception = None
                self.active.complete(call, *self.active.packed(call, result, error))
                return
        self.active.launcher.take(call, now)
