"""A client's end for one endpoint: connects, sends heartbeats, and reconnects after a loss."""

from __future__ import annotations

import _socket  # which gevent does not patch
import random
import time
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from ... import errors
from ...backends import native
from ...backends.base import Handle, Loop
from ...balancing.liveness import Liveness
from ...runtime import forks
from ...zmtp import connection as zmtp
from ...zmtp.errors import OtherMechanism, Refused, ZmtpError
from ...zmtp.mechanisms import UNAUTHORIZED, Mechanism
from .. import reasons
from ..base import BEAT, HANDSHAKE, SILENT, TTL, ClientEnd, ClientHost
from ..broken import Broken
from .dialing import Dialing
from .keeper import keeper
from .sockets import send_rest, tune
from .stream import SocketStream
from .turns import Turns

if TYPE_CHECKING:
    from ...security.curve import ClientKeys

# Seconds before the next connection attempt: at first, and at most. A random part of up to half of
# that is added, so that a server's clients do not all reconnect at once.
PAUSE, LONGEST_PAUSE = 0.1, 1.0

# Seconds to the next heartbeat if the server has not answered the last one; and the seconds by
# which a heartbeat may be late and still be evidence.
LOOK, LATE = 1.0, 0.5


class ClientStream(SocketStream):
    """One connection of a client."""

    __slots__ = ("_connector",)

    def __init__(
        self,
        connector: Connector,
        connected: _socket.socket,
        machine: zmtp.Connection,
        turns: Turns,
    ) -> None:
        super().__init__(connector.loop, connected, machine, turns, connector.host.received)
        self._connector = connector

    def opened(self) -> None:
        self._connector.up()

    def room(self) -> None:
        self._connector.host.turn_ended()

    def ended(self, error: Exception | None) -> None:
        self._connector.ended(error)


class Connector(ClientEnd):
    """A client's end. `message`: maximum bytes of a message. `keys`: the CURVE keys, if any."""

    gathers = False

    def __init__(
        self,
        loop: Loop,
        host: ClientHost,
        endpoint: str,
        message: int,
        keys: ClientKeys | None = None,
    ) -> None:
        self.loop = loop
        self.host = host
        self._endpoint = endpoint
        self._bounds = zmtp.Bounds(message=message)
        self._keys = None if keys is None else keys.raw
        self._broken = Broken()
        self._turns = Turns(loop, host.turn_ended)
        self._dialing: Dialing | None = None
        self._line: ClientStream | None = None
        self._timer: Handle | None = None  # for an attempt, the handshake or a heartbeat
        self._pause = PAUSE
        self._silent = 0.0
        self._asked = False  # whether the last heartbeat sent a PING
        self._pongs = 0  # PONGs received before the last heartbeat
        self._liveness = Liveness.READY
        self.due = inf  # when the next heartbeat is due
        self._closed = False
        forks.inherit(self)

    def open(self) -> None:
        self._dial()
        if self.loop.always_runs:
            keeper.keep(self)

    def send(self, frames: Sequence[Any]) -> bool:
        line = self._line
        return line is not None and line.machine.open and line.send(frames)

    def close(self, linger: float) -> None:
        self._closed = True
        keeper.let_go(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._dialing is not None:
            self._dialing.cancel()
        if self._line is not None:
            rest = self._line.detach()
            self._line = None
            if rest is not None:
                native.start_thread(partial(send_rest, [rest], linger))

    def forked(self) -> None:
        """In a child: leave the connection to the parent."""
        self._closed = True
        if self._line is not None:
            self._line.forked()
        if self._timer is not None:
            self._timer.cancel()

    # Connection attempts

    def _dial(self) -> None:
        self._timer = None
        self._dialing = Dialing(self.loop, self._endpoint, self._dialled)
        try:
            self._dialing.begin()
        except OSError as error:
            self._dialing.cancel()
            raise errors.ResourceExhausted(
                f"cannot connect to {self._endpoint}: {error.strerror} in this process"
            ) from None

    def _dial_again(self) -> None:
        try:
            self._dial()
        except errors.ResourceExhausted as error:
            self._failed(error.message)

    def _dialled(self, connected: _socket.socket | None, reason: str) -> None:
        self._dialing = None
        if connected is None:
            self._broken.reset()
            self._failed(reason)
            return
        tune(connected)
        machine = zmtp.Connection(
            b"DEALER", self._mechanism(), bounds=self._bounds, cautious=bool(self._broken.count)
        )
        self._line = ClientStream(self, connected, machine, self._turns)
        self._timer = self.loop.call_later(HANDSHAKE, self._late)
        self._line.begin()

    def _mechanism(self) -> Mechanism | None:
        if self._keys is None:
            return None
        from ...zmtp.curve import CurveClient  # few clients need it

        return CurveClient(*self._keys)

    def _late(self) -> None:
        if self._line is not None:
            self._line.fail(TimeoutError(reasons.mute(self._endpoint)))

    def _failed(self, reason: str) -> None:
        self._try_again()
        self.host.failed(reason)
        self._turns.end()

    def _try_again(self) -> None:
        if not self._closed:
            pause = random.uniform(1, 1.5) * self._pause  # noqa: S311 - no secret
            self._timer = self.loop.call_later(pause, self._dial_again)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    # The connection

    def up(self) -> None:
        self._pause, self._silent = PAUSE, 0.0
        self._broken.reset()
        self._asked, self._pongs, self._liveness = False, 0, Liveness.READY
        if self._timer is not None:
            self._timer.cancel()
        self._beat_later()
        self.host.up()

    def speak(self) -> None:
        line = self._line
        if line is not None:
            line.speak(TTL)

    def _beat_later(self) -> None:
        self._timer = self.loop.call_later(self._interval, self._beat)
        self.due = time.monotonic() + self._interval

    @property
    def _interval(self) -> float:
        """Seconds to the next heartbeat: fewer if the server has not answered the last one."""
        return BEAT if self._liveness is Liveness.READY else LOOK

    def _lives(self, liveness: Liveness) -> None:
        if liveness is not self._liveness:
            self._liveness = liveness
            self.host.lives(liveness)

    def _beat(self) -> None:
        """Send a heartbeat, unless the server has been silent for too long.

        Silence is counted in heartbeats: a loop that could not read could not send heartbeats
        either.
        """
        line = self._line
        if line is None:
            return
        self._silent = 0.0 if line.look() else self._silent + self._interval
        if line.machine.pongs != self._pongs:
            self._lives(Liveness.READY)
        elif self._asked and time.monotonic() - self.due < LATE:
            # A later heartbeat proves nothing: an answer may have arrived and be unread.
            self._lives(Liveness.STALLED if self._silent >= BEAT else Liveness.BUSY)
        self._pongs = line.machine.pongs
        if self._silent >= SILENT:
            line.fail(
                TimeoutError(f"the server at {self._endpoint} has been silent for {SILENT:g} s")
            )
            return
        # A loop that runs only while a caller waits cannot promise the next PING, so it sends no
        # time to live. A peer with ZMTP 3.0 does not know PING.
        self._asked = line.machine.ping(TTL if self.loop.always_runs else 0.0)
        if self._asked:
            line.write()
        else:
            self._silent = 0.0
        self._beat_later()

    def ended(self, error: Exception | None) -> None:
        """The connection has ended."""
        line, self._line, self.due = self._line, None, inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if line is not None and line.machine.open:
            reason = str(error) if isinstance(error, TimeoutError) else reasons.lost(self._endpoint)
            self._try_again()
            self.host.lost(reason)
        elif refusal := self._refusal(error):
            self.host.refused(refusal)
        else:
            self._failed(self._why_not(error))
            return
        self._turns.end()

    def _refusal(self, error: Exception | None) -> str:
        """Why another attempt is hopeless; "" if it may succeed."""
        at = self._endpoint
        if isinstance(error, OtherMechanism):
            if error.theirs == "CURVE":
                return reasons.wants_keys(at)
            if error.theirs == "NULL":
                return reasons.has_no_keys(at)
        elif isinstance(error, Refused):
            return (
                reasons.unknown_key(at)
                if error.reason == UNAUTHORIZED and self._keys is not None
                else ""
            )
        elif error is None or isinstance(error, ConnectionError):
            return self._broken_off()
        return ""

    def _broken_off(self) -> str:
        """The handshake was broken off. Returns why another attempt is hopeless, or "".

        With keys, this distinguishes a server with another key from a restarting server.
        """
        now = time.monotonic()
        self._broken.add(now)
        if self._keys is None:
            return ""
        self._pause = PAUSE
        if not self._broken.is_hopeless(now, known=self.host.known):
            return ""
        return reasons.broken_off_again(self._endpoint, self._broken.count)

    def _why_not(self, error: Exception | None) -> str:
        """Why a handshake failed."""
        if isinstance(error, TimeoutError):
            return str(error)
        if isinstance(error, Refused):
            return f"the server at {self._endpoint} refuses the connection: {error.reason}"
        if isinstance(error, ZmtpError):
            return f"the peer at {self._endpoint} is not a ringback server: {error}"
        return reasons.broken_off(self._endpoint)
