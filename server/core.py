"""A server on its socket: frames in, frames out, who came and who left, and the way it ends.

Ties the protocol's machine and the dispatcher to a ROUTER socket on a loop. Everything here runs on the loop's thread.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from .. import errors, forks
from ..backends import native
from ..backends.base import Handle, Loop
from ..backends.pump import NOBLOCK, RCVMORE, Pump, monitor, new_context
from ..endpoints import checked
from ..protocol import codec
from ..protocol.messages import About, Error, FromServer, Item, Reached
from ..protocol.server import Phase, ServerMachine, Session, SessionState
from ..security.curve import ServerKeys, check_encrypts
from ..state.store import State
from .access import AccessFile
from .admission import FAILED, Admission, is_of
from .binding import Bound
from .dispatcher import Dispatcher
from .gate import Gate
from .lifespan import Lifespan
from .limits import Limits
from .listening import Inherited
from .logs import Bounded
from .outgoing import Outgoing
from .rates import Rate
from .rules import Rules
from .service import Service
from .unfinished import HELLO_WITHIN, INTERVAL, SOON, Unfinished, give_back_memory, shut_down

log = logging.getLogger("ringback.server")

# Seconds to wait for clients to say that they have read their last answers, before the socket closes anyway.
FAREWELL = 1.0

# Batches of one client that wait to be read, where nothing else bounds them.
PIPE = 512

# Bytes that CurveZMQ adds to a frame: the name of a command, a nonce, a code, flags.
SEALED = 33

# Batches that a client may have sent before it knew that nothing more is taken from it.
IGNORED = 1000

# Seconds from cutting off who filled the memory to giving it back: libzmq has let go of it by then.
TIDY_AFTER = 0.5


class ServerCore:
    """One service on one ROUTER socket.

    `start` calls back when it answers calls, or with the error that keeps it from that; `drain` when it has ended.
    """

    def __init__(
        self,
        service: Service,
        loop: Loop,
        bind: Sequence[str | Inherited],
        *,
        context: zmq.Context[Any] | None = None,
        limits: Limits,
        rules: Rules,
        state: State | None = None,
        about: About | None = None,
        access: AccessFile | None = None,
        rate: Rate | None = None,
        keys: ServerKeys | None = None,
    ) -> None:
        service.prepare()
        self.service = service
        self.loop = loop
        self.bound = Bound()
        self._bind = [checked(place) if isinstance(place, str) else place for place in bind]
        if keys is not None:
            for place in self._bind:
                check_encrypts(str(place))
        self._keys = keys
        self._admission: Admission | None = None  # with CURVE
        self._sealed = 0 if keys is None else SEALED  # bytes of each frame that are CURVE's
        self._own_context = context is None
        self._context: zmq.Context[Any] = context if context is not None else new_context()
        self._limits = limits
        flags = {name: method.flags for name, method in service.methods.items()}
        self._gate = None if access is None and rate is None else Gate(access, rate, flags)
        visible = None if access is None or self._gate is None else self._gate.visible
        self._machine = ServerMachine(
            service.name,
            os.urandom(16),
            flags,
            max_size=limits.max_size,
            max_in_flight=limits.max_in_flight,
            max_bytes_in_flight=limits.max_bytes_in_flight,
            max_messages=limits.max_messages,
            max_frames=limits.max_frames,
            about=about,
            visible=visible,
        )
        self._out = Outgoing(
            loop,
            limits.max_size,
            unreachable=self._forget,
            cut=self._cut_off,
            spoiled=self._spoiled,
            flush=self._flush_outside,
        )
        self._dispatcher = Dispatcher(service, loop, self._machine, self._out.add_soon, rules, state, visible)
        self._decoder = codec.from_client(
            max_elements=limits.max_elements,
            max_messages=limits.max_messages,
            max_frames=limits.max_frames,
            max_depth=limits.max_depth,
        )
        self._decoder.values.limit = limits.max_size
        self._sessions: dict[bytes, Session] = {}
        self._descriptors: dict[int, Session] = {}
        self._left: list[Session] = []  # disconnected, though the socket may still hold what they said
        self._pump: Pump | None = None
        self._monitor: Pump | None = None
        self._socket: Any = None
        self._events: Any = None
        self._lifespan: Lifespan | None = None
        self._closed = False
        self._ended: Callable[[bool], object] | None = None
        self._timers: list[Handle] = []
        self._complaint = Bounded(log)
        longest = limits.max_size + codec.BATCH_BYTES
        self._unfinished = Unfinished(2 * longest, limits.max_bytes_in_flight, limits.connections())
        self._look: Handle | None = None
        self._search_due = False
        self._untidy = False  # whether the memory has grown since it was last given back
        self.terminated: Any = None
        forks.inherit(self)

    # Life

    def start(self, done: Callable[[BaseException | None], object]) -> None:
        """Enter the lifespan, bind, answer."""

        def entered(app: Any, error: BaseException | None) -> None:
            if error is None:
                self._dispatcher.app = app
                try:
                    self._open()
                except BaseException as failure:
                    self._close_sockets()
                    problem = failure
                    self._leave_lifespan(lambda: done(problem))
                    return
            else:
                self._lifespan = None  # what was not entered cannot be left
                self._close_sockets()
            done(error)

        factory = self.service.lifespan_factory
        if factory is None:
            entered(None, None)
            return
        self._lifespan = Lifespan(factory, self.service.name, self.loop)
        self._lifespan.enter(entered)

    def drain(self, timeout: float, ended: Callable[[bool], object]) -> None:
        """Refuse new calls, finish the accepted ones, deliver their answers, then close.

        Calls `ended(True)`; or `ended(False)` when `timeout` seconds were not enough.
        """
        if self._ended is not None:
            return
        self._ended = ended
        self._machine.drain()
        self._timers.append(self.loop.call_later(timeout, self._out_of_time))
        self._tell_all()

    def close(self) -> None:
        """Close at once: what is unanswered stays so."""
        for session in list(self._machine.sessions):
            self._machine.lost(session)
        self._close_sockets()
        self._leave_lifespan(lambda: None)

    def forked(self) -> None:
        """In a child: sockets, calls and endpoints are the parent's."""
        if self._closed:
            return
        self._closed = True
        self._pump = self._monitor = self._ended = None
        for timer in (*self._timers, self._look):
            if timer is not None:
                timer.cancel()
        self.bound.forked()
        self._dispatcher.forked()

    # Sockets

    def _open(self) -> None:
        # libzmq numbers its peers from rand(): with its fixed seed a stranger could present the next number and abort the process.
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))
        if self._keys is not None:
            self._admission = Admission(self._keys, self._context, self.loop, self._cut_off)
        socket = self._context.socket(zmq.ROUTER)
        try:
            if self._admission is not None:
                self._admission.protect(socket)
            socket.set(zmq.ROUTER_MANDATORY, 1)
            socket.set(zmq.SNDHWM, 64)
            socket.set(zmq.MAXMSGSIZE, self._limits.max_size + codec.BATCH_BYTES)
            socket.set(zmq.BACKLOG, 1024)
            socket.set(zmq.HANDSHAKE_IVL, 5000)
            # No heartbeats from here (decisions/0021): clients send them, and say after which time they are gone. For those that do not:
            socket.set(zmq.TCP_KEEPALIVE, 1)
            socket.set(zmq.TCP_KEEPALIVE_IDLE, 20)
            socket.set(zmq.TCP_KEEPALIVE_INTVL, 5)
            socket.set(zmq.TCP_KEEPALIVE_CNT, 3)
            socket.set(zmq.IPV6, any("[" in str(place) for place in self._bind))
            socket.set(zmq.LINGER, 0)
            for place in self._bind:
                # A pipe that is full lets any client on it abort this process (decisions/0021): who fills it is cut off instead, where
                # the kernel tells how much there is of it.
                socket.set(zmq.RCVHWM, 0 if "tcp://" in str(place) else PIPE)
                self.bound.bind(socket, place)
            watched = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
            if self._admission is not None:
                watched |= FAILED
            events = monitor(socket, self._context, watched)
        except BaseException:
            socket.close(0)
            raise
        self._socket, self._events = socket, events
        self._monitor = Pump(self.loop, events, self._event, lambda: None)
        self._pump = Pump(self.loop, socket, self._receive, self._flush)
        self._look_at_memory()
        if self._admission is not None:
            self._admission.watch(lambda: self._machine.sessions)

    def _close_sockets(self) -> None:
        if self._closed:
            return
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        if self._look is not None:
            self._look.cancel()
        self._out.close()
        self._dispatcher.close()
        opened = self._pump is not None
        if self._pump is not None and self._monitor is not None:
            self._pump.close(int(FAREWELL * 1000))
            self._monitor.close()
            self._pump = None
        if self._admission is not None:
            self._admission.close()
        if not self._own_context:
            self.bound.release()
        elif not opened:
            self._terminate()  # nothing lingers
        else:
            # Termination waits for the lingering answers, at most FAREWELL seconds: not on the loop.
            self.terminated = native.start_thread(self._terminate)

    def _terminate(self) -> None:
        self._context.term()
        self.bound.release()  # only now: a path that libzmq has still to remove must not be another server's yet

    # In

    def _receive(self, address: bytes) -> None:
        """Take one batch."""
        frames: list[Any]
        session = self._sessions.get(address)
        if session is None:
            session, frames = self._first_contact(address)
        elif self._admission is not None:
            session, frames = self._next_contact(session)
        else:
            socket = self._socket
            frames = [socket.recv(NOBLOCK)]
            while socket.get(RCVMORE):
                frames.append(socket.recv(NOBLOCK, False))  # uncopied
        session.heard += 1
        for frame in frames:
            length = len(frame) + self._sealed
            session.bytes += length + 2 if length < 256 else length + 9  # with ZMTP's own
        if session.state is SessionState.CLOSED:
            session.ignored += 1
            if session.ignored == IGNORED:
                self._cut_off(session, f"it goes on after its end: {IGNORED} batches")
            return
        try:
            messages = self._decoder.decode(frames)
            if self._out.held:
                messages = self._out.admitted(session, messages)
            accepted = self._machine.receive(session, messages)
            if accepted and self._gate is not None:
                accepted = self._gate.passed(self._dispatcher, session, accepted)
            if accepted:
                self._dispatcher.dispatch(session, accepted, self._decoder.values)
        except codec.TooMuch as error:
            self._refuse_unread(session, error)
        except errors.ProtocolError as error:
            self._machine.fault(session, error.message)
            self._complain(session, error.message)
        except Exception as error:
            # What is left to go wrong is ringback's own, and ends with the session that met it.
            self._machine.fault(session, "the server failed at what this client sent")
            self._complain(session, "the server failed at what it sent", error)
        if session.outbox:
            self._out.add(session)

    def _refuse_unread(self, session: Session, error: codec.TooMuch) -> None:
        """One call is too much to be decoded: what is wrong with it otherwise is said first. An item that is ends its call."""
        if type(error.of) is Item:
            invocation = session.calls.get(error.of.id)
            if invocation is not None:
                invocation.fail(errors.ResourceExhausted(error.message))
            return
        accepted = self._machine.receive(session, [error.of])
        if self._gate is not None:
            accepted = self._gate.passed(self._dispatcher, session, accepted)
        for call in accepted:
            self._dispatcher.reject(session, call, errors.ResourceExhausted(error.message))

    def _first_contact(self, address: bytes) -> tuple[Session, list[Any]]:
        """Whose connection this is, is told by the frames themselves: the descriptor that will be named when it is lost."""
        return self._contacted(address, self._rest())

    def _next_contact(self, session: Session) -> tuple[Session, list[Any]]:
        """Whose connection this is now: a routing id may be another's once its connection is lost, which is told apart from messages."""
        parts = self._rest()
        if is_of(parts[0], session):
            return session, [parts[0].bytes, *parts[1:]]
        self._forget(session)
        return self._contacted(session.address, parts)

    def _rest(self) -> list[zmq.Frame]:
        parts = [self._socket.recv(NOBLOCK, copy=False)]
        while parts[-1].more:
            parts.append(self._socket.recv(NOBLOCK, copy=False))
        return parts

    def _contacted(self, address: bytes, parts: list[zmq.Frame]) -> tuple[Session, list[Any]]:
        try:
            descriptor = parts[0].get(zmq.SRCFD)
            peer = str(parts[0].get("Peer-Address"))
        except zmq.ZMQError:  # inproc has neither
            descriptor, peer = -1, "inproc"
        if self._monitor is not None:
            self._monitor.drain()  # a descriptor's number is used again: first hear of those who left
        session = self._sessions[address] = self._machine.connected(address, peer)
        if descriptor >= 0:
            self._descriptors[descriptor] = session
            self._unfinished.spoke(descriptor)
        if self._admission is not None:
            self._admission.identify(session, parts[0])
            self._machine.identified(session)
        return session, [parts[0].bytes, *parts[1:]]

    def _event(self, first: bytes) -> None:
        event = parse_monitor_message([first, self._events.recv(NOBLOCK)])
        descriptor = event["value"]
        if event["event"] == zmq.EVENT_ACCEPTED:
            surplus = self._unfinished.accepted(descriptor)
            if surplus is not None:
                self._hang_up(*surplus, why="there are as many connections as are taken")
            return
        if self._admission is not None:
            if event["event"] != zmq.EVENT_DISCONNECTED:
                self._admission.failed(event["event"])
                return
            self._admission.ended(self._unfinished.peer(descriptor))
        self._unfinished.closed(descriptor)
        session = self._descriptors.pop(descriptor, None)
        if session is not None:
            self._forget(session)
            self._check_ending()

    def _forget(self, session: Session) -> None:
        self._machine.lost(session)
        self._out.forget(session)
        self._left.append(session)
        if self._pump is not None:
            self._pump.schedule()

    def _complain(self, session: Session, text: str, error: Exception | None = None) -> None:
        """Log why a peer's session ends; with a traceback, where that is not the peer's fault."""
        more = {"peer": session.peer, "code": errors.ProtocolError.code}
        level = logging.WARNING if error is None else logging.ERROR
        self._complaint(level, "cut off %s: %s", session.peer, text, fields=more, error=error)

    def _cut_off(self, session: Session, why: str) -> None:
        """End the connection from this side, for which libzmq has no call."""
        self._complain(session, why)
        self._machine.cut(session)
        self._out.forget(session)
        self._untidy = True  # what it had sent is freed soon, however fast it came
        if self._monitor is not None:
            self._monitor.drain()  # the descriptor may be another's by now
        for descriptor, other in list(self._descriptors.items()):
            if other is session:
                shut_down(descriptor, session.peer)

    def _look_at_memory(self) -> None:
        grown = self._unfinished.grown()
        if grown:
            self._untidy = True
        elif self._untidy and not self._machine.in_flight.calls:
            # What was large has been freed, but glibc keeps it.
            self._untidy = False
            self.loop.call_later(TIDY_AFTER, give_back_memory)
        if self._pump is not None and grown and not self._pump.dry:
            for session, unread in self._unfinished.unread(self._descriptors):
                self._cut_off(session, f"it sends faster than it can be served: {unread:,} bytes wait")
                self.loop.call_later(TIDY_AFTER, give_back_memory)
        if self._pump is not None and (grown or self._unfinished.waits):
            self._search_due = True
            self._pump.schedule()
        self._dispatcher.look()
        if self._gate is not None:
            self._gate.look(time.monotonic())
        self._look = self.loop.call_later(SOON if grown else INTERVAL, self._look_at_memory)

    def _search_for_offenders(self) -> None:
        """All that is whole has been read: who fills the memory with what is not?"""
        self._search_due = False
        if self._monitor is not None:
            self._monitor.drain()
        why = "a message without an end"
        for descriptor, peer in self._unfinished.search(self._descriptors):
            session = self._descriptors.get(descriptor)
            if session is not None:
                self._cut_off(session, why)
            else:
                self._hang_up(descriptor, peer, why)
            self.loop.call_later(TIDY_AFTER, give_back_memory)
        for descriptor, peer in self._unfinished.silent():
            self._hang_up(descriptor, peer, f"it said nothing for {HELLO_WITHIN:g} s")

    def _hang_up(self, descriptor: int, peer: str, why: str) -> None:
        """End a connection that has said nothing yet."""
        self._complaint(logging.WARNING, "cut off %s: %s", peer, why, fields={"peer": peer})
        shut_down(descriptor, peer)

    # Out

    def _flush_outside(self) -> None:
        """`_flush`, when it is not the end of the socket's own turn."""
        self._flush()
        if self._pump is not None:
            self._pump.flushed()

    def _flush(self) -> None:
        """At the end of a turn: send what has gathered."""
        if self._pump is None:
            return
        if self._left and self._pump.dry:
            for session in self._left:
                if (
                    self._sessions.get(session.address) is session
                ):  # and not another's who has its routing id now
                    del self._sessions[session.address]
            self._left.clear()
        if self._search_due and self._pump.dry:
            self._search_for_offenders()
        self._out.send(self._pump)
        self._check_ending()

    def _spoiled(self, session: Session, message: FromServer, error: Exception) -> None:
        """A message cannot be encoded: its call ends in its place."""
        more = {"peer": session.peer, "code": errors.ProtocolError.code}
        kind = type(message).__name__
        self._complaint(
            logging.ERROR, "%s cannot be sent to %s", kind, session.peer, fields=more, error=error
        )
        number: int | None = getattr(message, "id", None)
        if number is not None:
            failure = errors.ProtocolError(f"the answer cannot be encoded: {errors.described(error)}")
            call = session.calls.get(number)
            if call is not None:  # a stream, that goes on
                call.fail(failure)
            elif type(message) is not Reached:
                session.outbox.append(Error(number, *errors.to_wire(failure)))

    def _tell_all(self) -> None:
        for session in self._machine.sessions:
            self._out.add_soon(session)
        self.loop.call_soon(self._flush_outside)  # also where there is nobody to tell

    # The end

    def _check_ending(self) -> None:
        machine = self._machine
        if self._ended is None or machine.in_flight.calls or self._out.held:
            return
        if machine.phase is Phase.DRAINING:
            machine.leave()
            self._timers.append(self.loop.call_later(FAREWELL, self._end, True))
            self._tell_all()
        elif machine.phase is Phase.LEAVING and machine.left():
            self.loop.call_soon(self._end, True)

    def _out_of_time(self) -> None:
        log.warning("gave up draining with %d calls unfinished", self._machine.in_flight.calls)
        self._end(False)

    def _end(self, complete: bool) -> None:
        ended, self._ended = self._ended, None
        if ended is None or self._pump is None:
            return
        self._close_sockets()
        self._leave_lifespan(lambda: self._when_terminated(lambda: ended(complete)))

    def _when_terminated(self, done: Callable[[], object]) -> None:
        """Only then are the endpoints free for another server."""
        if self.terminated is not None and self.terminated.locked():
            self.loop.call_later(0.005, self._when_terminated, done)
        else:
            done()

    def _leave_lifespan(self, done: Callable[[], object]) -> None:
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is None:
            done()
        else:
            lifespan.leave(done)
