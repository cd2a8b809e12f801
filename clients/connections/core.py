"""A client on its transport: one wire for each endpoint, and the protocol machine, tied to a loop.

All code here runs on the loop; in the blocking client, under its lock. Any of its threads may also
add to `gathered`, check whether the client is `full`, and have the gathered calls sent with
`flush_later`.
"""

from __future__ import annotations

import logging
import math
import os
import random
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import errors
from ...backends.base import Handle, Loop
from ...balancing import Ejection, Policy
from ...protocol import codec
from ...protocol.messages import Bye, Notify
from ...transport.base import Transport
from ...version import __version__
from ..conversation.calls import OutgoingCall, Upload
from ..conversation.links import Link, LinkState
from ..conversation.machine import ClientMachine
from .wire import Wire

if TYPE_CHECKING:
    from ...discovery.source import Source
    from ...security.curve import ClientKeys

log = logging.getLogger("ringback.client")

# Gathered calls at which the client sends before its turn ends: the server starts the first while
# the last are still being made.
SEND_AT = 128

# Seconds to send the Bye; the process does not wait for it.
LEAVE = 0.2

# Seconds before the next connection to an endpoint whose server keeps leaving: the first and the
# longest pause. A connection that has lasted LASTING seconds resets the pause.
PAUSE, PAUSE_AT_MOST, LASTING = 0.05, 1.0, 10.0

# Seconds for which a server missing from the source's list still gets calls while its connection
# stands. A server that leaves announces it, and a restarted registry learns its servers one by one.
GRACE = 10.0

# Maximum seconds to wait for calls in flight at program exit.
LAST_CALLS = 30.0

# The cores that are not closed. The garbage collector must not take one: on libzmq it would close a
# monitor before the socket that it watches, and the I/O thread could then wait for ever.
_open: set[ClientCore] = set()


def open_cores() -> list[ClientCore]:
    """The cores of this process that are not closed."""
    return [core for core in list(_open) if core.process == os.getpid()]


class ClientCore:
    """All links of one client, on one loop."""

    def __init__(
        self,
        loop: Loop,
        endpoints: Sequence[str],
        sources: Sequence[Source],
        *,
        policy: Policy | None,
        zone: str,
        ejection: Ejection,
        keys: ClientKeys | None,
        transport: Transport,
        max_size: int,
        max_in_flight: int,
        max_bytes_in_flight: int,
    ) -> None:
        self.loop = loop
        # Calls a function on the loop. A finaliser may use it, in any thread at any point.
        self.post: Callable[..., object] = loop.call_soon_threadsafe
        self.process = os.getpid()
        self.keys = keys
        self.transport = transport
        self.largest_items: dict[str, int] = {}  # of streams: bytes by method
        self.known: set[str] = set()  # endpoints whose servers have admitted this client before
        self.encoder = codec.Encoder()
        self.machine = ClientMachine(
            endpoints,
            os.urandom(16),
            max_size,
            f"ringback {__version__}",
            policy=policy,
            zone=zone,
            ejection=ejection,
            searching=self._why_none if sources else None,
        )
        self.max_in_flight = max_in_flight
        self.max_bytes_in_flight = max_bytes_in_flight
        self.calls = self.machine.calls
        self._table = self.machine.table
        self.state_changed: Callable[[str], object] | None = None
        self._state = self.machine.state
        # Calls that the next `flush` will start. Any thread may add to it.
        self.gathered: deque[OutgoingCall] = deque()
        self.maps: set[object] = set()  # maps with unsent calls
        # Seconds before the next attempt to connect, by endpoint, where the server is leaving.
        self._pauses: dict[str, float] = {}
        self.closed = False
        self._given_up = ""  # why the core was given up, if it was
        self.when_closed: Callable[[], object] | None = None
        self._room: list[Callable[[], object]] = []
        self._idle: list[Callable[[], object]] = []
        self._timer: Handle | None = None
        self._timer_due = math.inf
        self.flushing = False  # whether a flush is queued
        self._wires: list[Wire] = []
        self.opened: list[Wire] = []  # wires with a socket, open or being opened
        self._leaving: list[Wire] = []  # of removed servers that still have calls
        self._given = frozenset(endpoints)
        self._sources = sources
        self._told: dict[Source, Sequence[str]] = {}

    def open(self) -> None:
        """Open the sockets; from now on the loop holds the core.
        If this raises or is interrupted, `abandon` undoes it."""
        # (the own calls of such a core kept its client alive)
        for core in [core for core in list(_open) if core.loop.closed]:
            core.let_go()
        _open.add(self)
        for link in self.machine.links:
            self._wires.append(Wire(self, link))
        for source in self._sources:
            weakref.finalize(self, source.close)
            source.start(_teller(weakref.ref(self), source))

    def abandon(self) -> None:
        """Close all that was opened, perhaps only a part, before a caller had the core."""
        self.loop.forget()
        self.let_go()

    @property
    def full(self) -> bool:
        in_flight = len(self.calls) + self._table.more + len(self.gathered)
        # some of them may be in `calls` already
        if in_flight >= self.max_in_flight and self.gathered:
            in_flight = len(self._in_flight()) + self._table.more
        return in_flight >= self.max_in_flight or self._table.bytes >= self.max_bytes_in_flight

    @property
    def room(self) -> int:
        """Calls that this client may still start; at least 1."""
        return max(1, self.max_in_flight - len(self.calls) - self._table.more - len(self.gathered))

    @property
    def bound(self) -> str:
        """The bound that the client has reached, for an error."""
        if self._table.bytes < self.max_bytes_in_flight:
            return f"{self.max_in_flight} calls are in flight, the maximum (max_in_flight)"
        return (
            f"calls with {self._table.bytes:,} bytes are in flight, "
            f"maximum {self.max_bytes_in_flight:,} (max_bytes_in_flight)"
        )

    def has(self, call: OutgoingCall) -> bool:
        """Whether the call was given to this core and has not ended."""
        return not call.ended and (call.id > 0 or call in self.gathered)

    def _in_flight(self) -> list[OutgoingCall]:
        """All calls, with those that are only gathered."""
        gathered = self.gathered.copy()  # other threads may add to it
        calls = list(self.calls.values())
        return calls + [call for call in gathered if not (call.ended or call.id in self.calls)]

    def start(self, call: OutgoingCall) -> None:
        """Send a call when this turn of the loop ends, or when enough calls are gathered."""
        self.gathered.append(call)
        # its bytes must count from now on
        if self.closed or (call.extras is not None and call.extras.size):
            self._start_gathered()
        if not self.flushing:
            self.flush_later()
        elif len(self.gathered) >= SEND_AT:
            self.flush()

    def _start_gathered(self) -> None:
        gathered = self.gathered
        calls = gathered.copy()
        if self.closed:  # closed while they waited for their turn or for room
            for call in calls:
                error = (
                    errors.Unavailable(self._given_up, started=False) if self._given_up else None
                )
                self.machine.end(
                    call, None, error or errors.Cancelled(f"{call.method}: the client was closed")
                )
        else:
            self.machine.start_all(calls, time.monotonic())
        for call in calls:
            # Only once it is in the table, as a cut turn must lose no call. A callback of another
            # call may have started it already.
            if gathered and gathered[0] is call:
                gathered.popleft()
                if call.extras is not None and call.extras.upload is not None:
                    self._begin_upload(call, call.extras.upload)

    def _begin_upload(self, call: OutgoingCall, upload: Upload) -> None:
        try:
            upload.begin()
        except RuntimeError as error:  # the process may have no thread for it
            text = f"{call.method}: its upload could not start: {errors.described(error)}"
            self.machine.cancel(call, errors.ResourceExhausted(text))

    def hold(self, call: OutgoingCall) -> None:
        """Register a call without sending it: `end` ends it, or the machine's `send` sends it."""
        self.machine.hold(call)
        if call.deadline is not None and call.deadline < self._timer_due:
            self._set_timer()

    def do(self, function: Callable[..., object], *args: Any) -> None:
        """Call a method of the machine, and flush when this turn of the loop ends."""
        function(*args)
        self.flush_later()

    def end(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        """End a held call, and flush."""
        self.machine.end(call, result, error)
        self.flush()

    @property
    def idle(self) -> bool:
        """Whether no call is in flight and nothing waits to be sent."""
        return not self.calls and not self.maps and self.settled

    @property
    def settled(self) -> bool:
        """Whether the sockets have received all messages."""
        if self.gathered or self.machine.notes:
            return False
        return not any(wire.link.outbox or wire.stuck for wire in self._wires)

    def notify(self, note: Notify) -> None:
        if len(self.machine.notes) >= self.max_in_flight:
            raise errors.ResourceExhausted(
                f"{note.method}: {len(self.machine.notes)} one-way calls wait for a server, "
                "the maximum (max_in_flight)"
            )
        if self.gathered:  # these go first
            self._start_gathered()
        self.machine.notify(note)
        self.flush_later()

    def cancel(self, call: OutgoingCall, error: Exception) -> bool:
        """End the call here, and at the server if possible; False if it has ended."""
        ended = self.machine.cancel(call, error)
        self.flush_later()
        return ended

    def drop(self, call: OutgoingCall) -> None:
        """Cancel a call whose reader is gone. Safe in finalisers, as `post` is."""
        if self.has(call) and not self.closed and self.process == os.getpid():
            with suppress(Exception):  # the loop is closed
                self.post(
                    self.cancel, call, errors.Cancelled(f"{call.method} was dropped by its reader")
                )

    def cancel_streams(self) -> None:
        """Cancel all streams: the program is exiting, and their readers are gone."""
        for call in self._in_flight():
            if call.message.credit:
                self.cancel(call, errors.Cancelled(f"{call.method}: the program is exiting"))

    def when_room(self, function: Callable[[], object], seconds: float | None = None) -> None:
        """Call the function after calls in flight fell to 3/4 of the bounds, or after `seconds`."""
        if not self.full:
            function()
        elif seconds is None:
            self._room.append(function)
        else:

            def room() -> None:
                timer.cancel()
                function()

            def late() -> None:
                if room in self._room:
                    self._room.remove(room)
                    function()

            self._room.append(room)
            timer = self.loop.call_later(max(0.0, seconds), late)

    def when_idle(self, function: Callable[[], object]) -> None:
        """Call the function once no call is in flight and nothing waits to be sent."""
        if self.idle:
            function()
        else:
            self._idle.append(function)

    def give_up(self, why: str) -> None:
        """End all calls with Unavailable and close all links in any state, after a cut turn."""
        self.closed, self._given_up = True, why
        _open.discard(self)
        error = errors.Unavailable(why, started=None)
        for calls in (self.machine.ending, list(self.calls.values())):
            while calls:
                with suppress(Exception):
                    if not calls[-1].told:
                        calls[-1].conclude(None, error, self._table.recorder)
                self.calls.pop(calls.pop().id, None)
        with suppress(Exception):
            self._start_gathered()  # this ends them
        for source in self._sources:
            source.close()
        self.loop.forget()
        for wire in list(self.opened):
            with suppress(Exception):
                wire.close(0)
        self._wires.clear()
        for function in self._room + self._idle:
            function()

    def finish(self, message: str, seconds: float, done: Callable[[], object]) -> None:
        """Close once no call is in flight, after `seconds` at the latest; then call `done` once.
        The remaining calls end with Cancelled."""
        called = False

        def end() -> None:
            nonlocal called
            timer.cancel()
            if not called:
                called = True
                self.close(message)
                done()

        if self.closed or self.loop.closed or not seconds:
            self.close(message)
            done()
        else:
            timer = self.loop.call_later(seconds, end)
            self.when_idle(end)

    def leave(self) -> None:
        """Close a dropped client once no call is in flight."""
        self.when_idle(partial(self.close, "the client was dropped"))

    def let_go(self) -> None:
        """Close without the loop: the loop is closed already, or no caller has the client yet."""
        self.closed = True
        _open.discard(self)
        for source in self._sources:
            source.close()
        self._close_wires(0)

    def close(self, message: str) -> None:
        """End calls in flight with Cancelled, and close."""
        if self.closed:
            return
        if self.gathered:
            self._start_gathered()
        self.closed = True
        _open.discard(self)
        if self.machine.notes:
            log.warning(
                "%d one-way calls dropped: no server was available", len(self.machine.notes)
            )
        self.machine.close(errors.Cancelled(message))
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
        for source in self._sources:
            source.close()
        self._close_wires(LEAVE)
        if self.when_closed is not None:
            self.when_closed()
        waiting, self._room, self._idle = self._room + self._idle, [], []
        for function in waiting:
            function()

    def forked(self) -> None:
        """In a forked child: calls and connections are the parent's.
        A caller that waits here gets Cancelled, if its loop goes on."""
        if self.closed:
            return
        self.closed = True
        _open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._room, self._idle = [], []
        calls = self._in_flight()
        self.gathered.clear()
        if self.loop.cooperative:
            return  # the waiting greenlets are the parent's and must not resume in the child's hub
        for call in calls:
            text = f"{call.method} was called before a fork: only the parent gets its reply"
            self.loop.call_soon(call.disown, errors.Cancelled(text))

    def flush(self) -> None:
        """Send the gathered calls and messages.
        Run the callbacks that wait for room or idleness."""
        self.flushing = False  # cleared only here: a full caller's stack may lose a queued flush
        if self.gathered:
            self._start_gathered()
        for wire in self._wires:
            if wire.link.outbox or wire.stuck:
                wire.flush()
        if self._leaving:
            self._let_go()
        if self._room or self._idle:
            self._tell_waiters()
        if (
            self.machine.next_deadline < self._timer_due or self.machine.balances
        ) and not self.closed:
            self._set_timer()

    def link_changed(self, wire: Wire) -> None:
        """Handle a change of a link's state."""
        link, wire.seen = wire.link, wire.link.state
        if link.state is LinkState.OPEN:
            wire.opened = time.monotonic()
        elif link.state is LinkState.DRAINING:
            lasted = time.monotonic() - wire.opened >= LASTING
            pause = 0.0 if lasted else self._pauses.get(link.endpoint, 0.0)
            self._pauses[link.endpoint] = min(max(2 * pause, PAUSE), PAUSE_AT_MOST)
            self.loop.call_later(random.uniform(pause / 2, pause), self._connect_anew, wire)  # noqa: S311 - no secret
        elif link.state is LinkState.CLOSED and wire in self._wires and not self.closed:
            # Its messages no longer count, it must not reconnect, and its server may send without
            # end.
            self._wires.remove(wire)
            if not link.refuses:
                wire.flush()
            wire.close(0 if link.refuses else LEAVE)
            self.flush_later()
        elif link not in self.machine.links:
            self._wires.remove(wire)  # it was kept for its last replies
            wire.close(0)
            self.flush_later()
        if link.state is LinkState.DOWN:
            for source in self._sources:
                source.look()
        self._set_timer()  # for the retries
        self.tell_state()

    def tell_state(self) -> None:
        state = self.machine.state
        if state != self._state:
            self._state = state
            if self.state_changed is not None:
                self.state_changed(state)

    # Servers from sources

    def _why_none(self) -> str:
        return "; ".join(source.reason for source in self._sources)

    def found(self, source: Source, endpoints: Sequence[str]) -> None:
        """Apply a source's full list of endpoints."""
        if self.closed:
            return
        self._told[source] = endpoints
        known = {link.endpoint for link in self.machine.links}
        for endpoint in endpoints:
            if endpoint not in known:
                self._join(endpoint)
        for link in list(self.machine.links):
            if not self._is_wanted(link):
                if link.state is LinkState.OPEN:
                    self.loop.call_later(GRACE, self._leave, link)
                else:
                    self._leave(link)
        if not self.machine.found and len(self._told) == len(self._sources):
            self.machine.search_ended()
        self.tell_state()
        self.flush_later()

    def _is_wanted(self, link: Link) -> bool:
        return link.endpoint in self._given or any(
            link.endpoint in told for told in self._told.values()
        )

    def _join(self, endpoint: str) -> None:
        link = self.machine.add(endpoint)
        try:
            self._connect(link)
        except errors.UsageError as error:  # the source's address is invalid here
            log.warning("%s", error)
            self.machine.remove(link)

    def _leave(self, link: Link) -> None:
        """Remove a server that is no longer listed. Its calls in flight may finish."""
        if self.closed or link not in self.machine.links or self._is_wanted(link):
            return
        self.machine.remove(link)
        for wire in [wire for wire in self._wires if wire.link is link]:
            wire.seen = link.state
            if link.state is LinkState.DRAINING:
                self._leaving.append(wire)
            else:
                self._wires.remove(wire)
                wire.close(0)
        self.tell_state()
        self.flush_later()

    def _let_go(self) -> None:
        """Close the links of removed servers whose last calls have ended."""
        for wire in list(self._leaving):
            if wire.link.state is not LinkState.DRAINING:
                self._leaving.remove(wire)  # it was lost
            elif not wire.link.in_flight:
                self._leaving.remove(wire)
                self._wires.remove(wire)
                wire.link.outbox.append(Bye())
                wire.flush()
                wire.close(LEAVE)

    # Within

    def _connect(self, link: Link) -> None:
        """Open a link. If the process has no file descriptor left, retry every second.
        Raises UsageError."""
        if self.closed or link not in self.machine.links:
            return
        try:
            self._wires.append(Wire(self, link))
        except errors.ResourceExhausted as error:
            log.warning("%s; trying again", error)
            self.loop.call_later(PAUSE_AT_MOST, self._connect, link)

    def _connect_anew(self, wire: Wire) -> None:
        """Connect again for a leaving server: to its successor, or to another of its processes."""
        link = wire.link
        if self.closed or link.state is not LinkState.DRAINING or link not in self.machine.links:
            return
        if not self._is_wanted(link):
            self._leave(link)
            return
        self._connect(self.machine.replace(link))
        if not any(call.link is link for call in self.calls.values()):
            link.outbox.append(Bye())
            wire.flush()
            self._wires.remove(wire)
            wire.close(LEAVE)

    def _tell_waiters(self) -> None:
        in_flight = len(self.calls) + self._table.more
        ready: list[Callable[[], object]] = []
        if (
            in_flight <= self.max_in_flight * 3 // 4
            and self._table.bytes <= self.max_bytes_in_flight * 3 // 4
        ):
            ready, self._room = self._room, []
        if self._idle and self.idle:
            ready, self._idle = ready + self._idle, []
        for function in ready:
            function()

    def flush_later(self) -> None:
        """Queue a flush for the end of this turn of the loop."""
        if not self.flushing and not self.closed:
            try:
                self.flushing = True  # first: the loop may run at once in another thread
                self.loop.call_soon(self._flush_soon)
            except BaseException:  # for example, the caller's stack is full
                self.flushing = False
                raise

    def _flush_soon(self) -> None:
        if not self.closed:
            self.flush()

    def _tick(self) -> None:
        self._timer, self._timer_due = None, math.inf
        self.machine.tick(time.monotonic())
        self._set_timer()
        self.flush_later()

    def _set_timer(self) -> None:
        due = self.machine.next_tick()
        if due < self._timer_due:
            # first: it may raise
            timer = self.loop.call_later(max(0.0, due - time.monotonic()), self._tick)
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_due = timer, due

    def _close_wires(self, linger: float) -> None:
        for wire in list(self.opened):
            wire.close(linger)


def _teller(core: weakref.ref[ClientCore], source: Source) -> Callable[[list[str]], object]:
    """The function that the source calls in its thread.
    It holds the core weakly, so a dropped client can be freed."""

    def changed(endpoints: list[str]) -> None:
        alive = core()
        if alive is not None and not alive.closed:
            alive.loop.call_soon_threadsafe(alive.found, source, endpoints)

    return changed
