"""The core of a server: ties the protocol machine and the dispatcher to a transport on a loop.

It handles frames in and out, connections that open and close, and the drain at the end. Everything
here runs on the loop's thread.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import errors
from ...backends.base import Handle, Loop
from ...endpoints import checked
from ...logs.bounded import Bounded
from ...metrics.recorder import CallRecorder
from ...metrics.snapshot import ServerSnapshot
from ...protocol import codec
from ...protocol.bounds import BATCH_BYTES, MAX_MAPPED
from ...protocol.messages import About, Error, FromClient, FromServer, Item, Reached
from ...protocol.server import Phase, ServerMachine, Session, SessionState
from ...runtime import forks
from ...state.store import State
from ...transport.base import AcceptedConnection, ServerBounds, Transport
from ...transport.listening import InheritedSocket
from ..admission.control import AccessControl
from ..admission.rates import Rate
from ..admission.rules import AccessFile
from ..calls.dispatcher import Dispatcher
from ..calls.maps.beginning import Maps
from ..declare.service import Service
from ..lifespan import Lifespan
from ..limits import connections, unsent, unserved
from ..options import LimitOptions, SchedulingOptions
from .outgoing import Outgoing

if TYPE_CHECKING:
    from ...security.curve import ServerKeys
    from ...tracing.spans import Tracing

log = logging.getLogger("ringback.server")

# Seconds to wait at the end for clients to confirm their last replies; then the server closes
# anyway.
FAREWELL = 1.0

# Seconds between two periodic checks.
LOOK = 0.25

# Messages of a long batch that one step handles. Other clients get a turn between two steps.
PART = 32

_CLOSED = SessionState.CLOSED  # looked up once (see protocol/server.py)

# Batches that the server ignores from a client after the end of its session: the client may have
# sent them before it learned of the end.
IGNORED = 1000


class ServerCore:
    """One service on one transport; the host that the transport calls.

    `start` calls back once it answers calls, or with the error that prevents it; `drain` calls back
    at the end.
    """

    def __init__(
        self,
        service: Service,
        loop: Loop,
        bind: Sequence[str | InheritedSocket],
        *,
        transport: Transport,
        limits: LimitOptions,
        scheduling: SchedulingOptions,
        state: State | None = None,
        about: About | None = None,
        access: AccessFile | None = None,
        rate: Rate | None = None,
        keys: ServerKeys | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        service.prepare()
        self.service = service
        self.loop = loop
        self._bind = [checked(place) if isinstance(place, str) else place for place in bind]
        self._keyed = keys is not None
        longest = limits["max_size"] + BATCH_BYTES
        bounds = ServerBounds(
            longest,
            limits["max_frames"],
            connections(limits),
            limits["handshake_timeout"],
            limits["hello_timeout"],
            unserved(limits),
        )
        self.end = transport.server(loop, self, bounds, keys)
        flags = {name: method.flags for name, method in service.methods.items()}
        self._access = (
            None if access is None and rate is None else AccessControl(access, rate, flags)
        )
        visible = None if access is None or self._access is None else self._access.visible
        self._machine = ServerMachine(
            service.name,
            os.urandom(16),
            flags,
            max_size=limits["max_size"],
            max_in_flight=limits["max_in_flight"],
            max_bytes_in_flight=limits["max_bytes_in_flight"],
            max_messages=limits["max_messages"],
            max_frames=limits["max_frames"],
            max_mapped=MAX_MAPPED,
            about=about,
            visible=visible,
        )
        self._out = Outgoing(
            loop,
            limits["max_size"],
            unsent(limits),
            cut=self._cut_off,
            spoiled=self._spoiled,
            flush=self._flush,
        )
        self._dispatcher = Dispatcher(
            service, loop, self._machine, self._out.add_soon, scheduling, state, visible, tracing
        )
        self._calls = self._dispatcher.active
        passed = (
            None
            if self._access is None
            else partial(self._access.passed, self._dispatcher.refusals)
        )
        self._maps = Maps(self._dispatcher, MAX_MAPPED, self._full, passed, limits["max_size"])
        self._decoder = codec.from_client(
            max_elements=limits["max_elements"],
            max_messages=limits["max_messages"],
            max_frames=limits["max_frames"],
        )
        self._decoder.values.limit = limits["max_size"]
        self._lifespan: Lifespan | None = None
        self._closed = False
        self._ended: Callable[[bool], object] | None = None
        self._timers: list[Handle] = []
        self._complaint = Bounded(log)  # about clients that are cut off
        self._unsendable = Bounded(log)
        self._look: Handle | None = None
        forks.inherit(self)

    @property
    def calls(self) -> int:
        """Number of ended calls of the service's methods."""
        return self._dispatcher.reports.calls

    def observe(self, recorder: CallRecorder) -> None:
        """Record the end of each call from now on."""
        self._calls.observer.record(recorder)

    def report(self, snapshot: ServerSnapshot) -> None:
        """Write the current state into a metrics snapshot. From any thread."""
        self._dispatcher.reports.report(snapshot, self._calls.observer)
        snapshot.connection_bytes = self.end.unserved

    # Life

    def start(self, done: Callable[[BaseException | None], object]) -> None:
        """Enter the lifespan, bind, and answer calls."""

        def entered(app: Any, error: BaseException | None) -> None:
            if error is None:
                self._calls.app = app
                try:
                    self.end.open(self._bind)
                    self._look_after()
                except BaseException as failure:
                    self._close()
                    problem = failure
                    self._leave_lifespan(lambda: done(problem))
                    return
            else:
                self._lifespan = None  # it was not entered, so do not leave it
                self._close()
            done(error)

        factory = self.service.lifespan_factory
        if factory is None:
            entered(None, None)
            return
        self._lifespan = Lifespan(factory, self.service.name, self.loop)
        self._lifespan.enter(entered)

    def drain(self, timeout: float, ended: Callable[[bool], object]) -> None:
        """Refuse new calls, finish the accepted ones, deliver their replies, then close.

        Calls `ended(True)`, or `ended(False)` if this takes longer than `timeout` seconds.
        """
        if self._ended is not None:
            return
        self._ended = ended
        self._machine.drain()
        self._timers.append(self.loop.call_later(timeout, self._out_of_time))
        self._tell_all()

    def close(self) -> None:
        """Close at once: unfinished calls get no reply."""
        for session in list(self._machine.sessions):
            self._machine.lost(session)
        self._close()
        self._leave_lifespan(lambda: None)

    def forked(self) -> None:
        """In a forked child: drop all calls, as they belong to the parent."""
        if self._closed:
            return
        self._closed = True
        self._ended = None
        for timer in (*self._timers, self._look):
            if timer is not None:
                timer.cancel()
        self._calls.forked()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        if self._look is not None:
            self._look.cancel()
        self._out.close()
        self._calls.close()
        self.end.close(FAREWELL)

    def _look_after(self) -> None:
        """Run the periodic checks, and schedule the next ones."""
        self._calls.look()
        if self._access is not None:
            self._access.look(time.monotonic())
        self._look = self.loop.call_later(LOOK, self._look_after)

    # In

    def received(self, connection: AcceptedConnection, frames: list[Any]) -> Iterator[None] | None:
        """Handle one batch. Returns an iterator for a long one; each step handles a part."""
        session: Session | None = connection.session
        if session is None:
            session = self._connected(connection)
        if session.state is _CLOSED:
            session.ignored += 1
            if session.ignored == IGNORED:
                self._cut_off(session, f"it sent {IGNORED} batches after the end of its session")
            return None
        try:
            messages = self._decoder.decode(frames)
            if len(messages) > PART:
                return self._in_parts(session, messages, frames[1:])
            self._take(session, messages)
        except codec.TooMuch as error:
            self._refuse_unread(session, error)
        except errors.ProtocolError as error:
            self._machine.fault(session, error.message)
            self._complain(session, error.message)
        except Exception as error:
            self._failed(session, error)
        if session.outbox:
            self._out.add(session)
        return None

    def _take(self, session: Session, messages: list[FromClient]) -> None:
        full = self._full(session)
        accepted = self._machine.receive(session, messages, full)
        if accepted and self._access is not None:
            accepted = self._access.passed(self._dispatcher.refusals, session, accepted)
        if accepted:
            self._dispatcher.dispatch(session, accepted, self._decoder.values)
        if self._machine.maps:
            maps, self._machine.maps = self._machine.maps, []
            for each in maps:
                self._maps.begin(session, each, self._decoder.values.frames)

    def _full(self, session: Session) -> str:
        """Why the client may not make calls now, or ""."""
        return self._out.full(session) if self._out.held else ""

    def _in_parts(
        self, session: Session, messages: list[FromClient], values: list[Any]
    ) -> Iterator[None]:
        """Handle a long batch, one part at each step. `values`: the frames that hold its values."""
        for first in range(0, len(messages), PART):
            if session.state is _CLOSED:
                return
            try:
                self._decoder.values.begin(values)
                self._take(session, messages[first : first + PART])
            except Exception as error:
                self._failed(session, error)
            if session.outbox:
                self._out.add(session)
            yield

    def _failed(self, session: Session, error: Exception) -> None:
        """End the one session that caused an internal error of ringback."""
        self._machine.fault(session, "the server failed on messages of this client")
        self._complain(session, "the server failed on its messages", error)

    def _refuse_unread(self, session: Session, error: codec.TooMuch) -> None:
        """Refuse a call that is too large to decode; its other errors take precedence.

        An item of a stream that is too large ends its call.
        """
        if type(error.of) is Item:
            invocation = session.calls.get(error.of.id)
            if invocation is not None:
                invocation.fail(errors.ResourceExhausted(error.message))
            return
        accepted = self._machine.receive(session, [error.of])
        if self._access is not None:
            accepted = self._access.passed(self._dispatcher.refusals, session, accepted)
        for call in accepted:
            self._dispatcher.refusals.refuse(session, call, errors.ResourceExhausted(error.message))

    def _connected(self, connection: AcceptedConnection) -> Session:
        session = connection.session = self._machine.connected(connection, connection.peer)
        if self._keyed:
            session.user, session.key = connection.user, connection.key
            self._machine.identified(session)
        return session

    def lost(self, connection: AcceptedConnection) -> None:
        session: Session | None = connection.session
        if session is not None:
            self._machine.lost(session)
            self._out.forget(session)
            self._check_ending()

    def offends(self, connection: AcceptedConnection, why: str) -> None:
        self._cut_off(connection.session or self._connected(connection), why)

    def complain(self, peer: str, why: str) -> None:
        self._complaint(logging.WARNING, "cut off %s: %s", peer, why, fields={"peer": peer})

    def _complain(self, session: Session, text: str, error: Exception | None = None) -> None:
        """Log why a peer's session ends, with a traceback if it is not the peer's fault."""
        more = {"peer": session.peer, "code": errors.ProtocolError.code}
        level = logging.WARNING if error is None else logging.ERROR
        self._complaint(level, "cut off %s: %s", session.peer, text, fields=more, error=error)

    def _cut_off(self, session: Session, why: str) -> None:
        """Log the reason, and close the connection from this side."""
        self._complain(session, why)
        self._machine.cut(session)
        self._out.forget(session)
        session.connection.cut()

    # Out

    def room(self, connection: AcceptedConnection | None) -> None:
        if not self._closed:
            self._out.room(None if connection is None else connection.session)
            self._flush()

    def _flush(self) -> None:
        """Send queued messages outside a turn of the transport."""
        if not self._closed:
            self.turn_ended()
            self.end.sent()

    def turn_ended(self) -> None:
        """Send queued messages."""
        if not self._closed:
            self._out.send()
            self._check_ending()

    def _spoiled(self, session: Session, message: FromServer, failure: errors.CallError) -> None:
        """A message cannot be sent: end its call with an error instead."""
        more = {"peer": session.peer, "code": failure.code}
        kind = type(message).__name__
        cause = failure.__cause__ if isinstance(failure.__cause__, Exception) else None
        level = logging.WARNING if cause is None else logging.ERROR
        self._unsendable(
            level,
            "%s cannot be sent to %s: %s",
            kind,
            session.peer,
            failure,
            fields=more,
            error=cause,
        )
        number: int | None = getattr(message, "id", None)
        if number is not None:
            call = session.calls.get(number)
            if call is not None:  # a stream that still runs
                call.fail(failure)
            elif type(message) is not Reached:
                session.outbox.append(Error(number, *errors.to_wire(failure)))

    def _tell_all(self) -> None:
        for session in self._machine.sessions:
            self._out.add_soon(session)
        self.loop.call_soon(self._flush)  # also if there are no sessions

    # The end

    def _check_ending(self) -> None:
        machine = self._machine
        if (
            self._ended is None
            or machine.in_flight.calls
            or machine.in_flight.maps
            or self._out.held
        ):
            return
        if machine.phase is Phase.DRAINING:
            machine.leave()
            self._timers.append(self.loop.call_later(FAREWELL, self._end, True))
            self._tell_all()
        elif machine.phase is Phase.LEAVING and machine.left():
            self.loop.call_soon(self._end, True)

    def _out_of_time(self) -> None:
        log.warning("drain timed out: %d calls unfinished", self._machine.in_flight.calls)
        self._end(False)

    def _end(self, complete: bool) -> None:
        ended, self._ended = self._ended, None
        if ended is None or self._closed:
            return
        self._close()
        self._leave_lifespan(lambda: self._when_free(lambda: ended(complete)))

    def _when_free(self, done: Callable[[], object]) -> None:
        """Call `done` once another server can bind the endpoints."""
        if self.end.closing is not None and self.end.closing.locked():
            self.loop.call_later(0.005, self._when_free, done)
        else:
            done()

    def _leave_lifespan(self, done: Callable[[], object]) -> None:
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is None:
            done()
        else:
            lifespan.leave(done)
