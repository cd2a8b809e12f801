"""A ZMTP connection on a non-blocking socket of the loop's: what one read brings is handed on in turns that are bounded, and what the
socket does not take waits."""

from __future__ import annotations

import _socket  # which gevent does not patch
import socket as socketlib
import struct
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from ...backends.base import Handle, Loop
from ...zmtp.connection import READ, Buffer, Connection
from ...zmtp.errors import ZmtpError
from ..turns import MESSAGES_PER_TURN, TURN
from .sockets import BUFFERS, after
from .turns import Turns

# What may have to be said to a peer that takes nothing, beside messages: pongs, that is.
_UNSAID = 1024

# Bytes of a large frame that are waited for, to be read at once.
AT_ONCE = 524_288

_OVER = object()


class SocketStream(ABC):
    """One connection, and what becomes of what comes over it. `kept`: bytes that have come and are not served yet, by `Intake`'s count."""

    __slots__ = (
        "_came",
        "_left",
        "_loop",
        "_opened",
        "_reading",
        "_receive",
        "_rest",
        "_socket",
        "_turns",
        "_unsent",
        "_writing",
        "closed",
        "heard",
        "kept",
        "machine",
        "queued",
        "ready_at",
        "unsent",
    )

    def __init__(
        self,
        loop: Loop,
        connected: _socket.socket,
        machine: Connection,
        turns: Turns,
        receive: Callable[[list[Any]], Iterator[object] | None],
    ) -> None:
        """`receive` handles one message. For a long one it returns an iterator, and each step handles one part."""
        self._loop = loop
        self._socket = connected
        self.machine = machine
        self._turns = turns
        self._receive = receive
        self._left: deque[list[Any]] = deque()  # messages that have come, and have to wait for their turn
        self._rest: Iterator[object] | None = None  # the remaining parts of the current message
        self._came = 0  # bytes of the read that brought them
        self.kept = 0
        self._unsent: list[Buffer] = []  # what the socket would not take
        self.unsent = 0  # bytes of that
        self._opened = False
        self.queued = False
        self.heard = True  # whether anything has come since somebody last looked
        self.ready_at = 1  # bytes that have to wait in the socket before the loop is told of them
        self.closed = False
        self._writing: Handle | None = None
        self._reading: Handle | None = None

    def begin(self) -> None:
        """Greet, and read from now on."""
        self.resume()
        self.write()

    def opened(self) -> None:  # noqa: B027 - a server waits for more
        """The handshake is done. Called before the first message."""

    @abstractmethod
    def ended(self, error: Exception | None) -> None:
        """The connection has: by the error, or None where the peer ended it. Called once."""

    @abstractmethod
    def room(self) -> None:
        """The socket takes more, after it did not."""

    # In

    def readable(self) -> None:
        """The socket has something: read once, so that no peer has more than its turn."""
        turns = self._turns
        if turns.queue:  # others are waiting for their turn: so does this one
            turns.add(self)
            return
        messages = self._read()
        if len(messages) == 1:
            self._take(messages[0])
            if self._rest is not None:
                self._take_many()
        elif messages:
            self._left.extend(messages)
            self._take_many()
        turns.end()
        if self.machine.out and not self.closed:
            self.write()

    def step(self) -> bool:
        """Handle one message, or one part of a long one. True if the stream needs another turn."""
        if not self._waits() and not self.closed:
            self._left.extend(self._read())
            if self.machine.out and not self.closed:
                self.write()
        if self._waits():
            self._take_next()
            if not self._waits() and not self.closed:
                self._turns.intake.count(self, self.machine.held)
        return self._waits()

    def _waits(self) -> bool:
        """Whether received messages, or parts of one, wait for a turn."""
        return self._rest is not None or bool(self._left)

    def _take_many(self) -> None:
        end = time.monotonic() + TURN
        for _ in range(MESSAGES_PER_TURN):
            self._take_next()
            if not self._waits():
                return
            if time.monotonic() >= end:
                break
        self._turns.intake.count(self, self.machine.held + self._came)
        self._turns.add(self)

    def _take_next(self) -> None:
        if self._rest is None:
            self._take(self._left.popleft())
            return
        try:
            if next(self._rest, _OVER) is _OVER:
                self._rest = None
        except BaseException as error:
            self._rest = None
            self._turns.contain(error)

    def _take(self, message: list[Any]) -> None:
        """Handle one message, or note the parts of a long one for later turns."""
        try:
            rest = self._receive(message)
        except BaseException as error:
            self._turns.contain(error)
            return
        if rest is not None and not self.closed:
            self._rest = rest
            self._came = max(self._came, sum(map(len, message)))
            self._turns.intake.count(self, self.machine.held + self._came)

    def _read(self) -> Sequence[list[Any]]:
        """The messages that one read of the socket brings."""
        intake = self._turns.intake
        if self.closed or (self.kept and not intake.admits(self)):
            return ()
        large = self.machine.large
        try:
            if large is None:
                data = self._socket.recv(intake.read)
                came = len(data)
            else:
                data = b""
                came = self._socket.recv_into(large.space[: intake.most(self)])
                large.filled += came
        except BlockingIOError:
            return ()
        except OSError as error:
            self.fail(error)
            return ()
        if not came:
            self.fail(None)
            return ()
        self.heard = True
        self._came = came
        try:
            messages: Sequence[list[Any]] = self.machine.feed(data)
            if not self._opened and self.machine.open:
                self._opened = True
                self.opened()
        except ZmtpError as error:
            for message in error.before:
                self._take(message)
                while self._rest is not None:
                    self._take_next()
            self._turns.end()  # what that is answered with is to be sent yet
            self.fail(error)
            return ()
        except BaseException as error:
            # A socket that stays readable would be read again at once: what is left to go wrong ends this connection.
            self._turns.contain(error)
            self.fail(None)
            return ()
        held = self.machine.held
        if (held or self.kept) and not self.closed:
            intake.count(self, held)
        large = self.machine.large
        if large is not None and came >= READ and intake.read == READ:
            self._be_told_at(min(large.size - large.filled, AT_ONCE))  # it comes fast: read it in few pieces
        elif self.ready_at > 1:
            self._be_told_at(1)
        return messages

    def _be_told_at(self, size: int) -> None:
        """Have the loop told once so many bytes wait, or the connection has ended."""
        if size != self.ready_at and not self.closed:
            self.ready_at = size
            self._socket.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_RCVLOWAT, size)

    def look(self) -> bool:
        """Whether anything has come since the last look; what less has come than was waited for is read next."""
        heard, self.heard = self.heard, False
        if not heard:
            self._be_told_at(1)
        return heard

    # Out

    def send(self, frames: Sequence[Any]) -> bool:
        """Send one message. False where it is not taken, as something waits for the socket already."""
        if self._unsent:
            return False
        if not self.closed:
            machine = self.machine
            with self._turns.lock:
                if machine.out:
                    machine.send(frames)
                    self._send(machine.take_out())
                else:
                    self._send(machine.framed(frames))
            if self._unsent:
                self._watch_unsent()
        return True

    def write(self) -> None:
        """Send what the machine has to say, or keep it until the socket takes it."""
        if not self._unsent:
            with self._turns.lock:
                self._send(self.machine.take_out())
            self._watch_unsent()
        elif len(self.machine.out) > _UNSAID:
            self.machine.out.clear()
            self.fail(ZmtpError("it asks for answers and reads none"))

    def _send(self, buffers: list[Buffer]) -> None:
        """Hand them to the socket, behind what waits for it; what it does not take waits. The caller has the lock: a frame is sealed and
        sent before another thread seals one."""
        if self._unsent:
            buffers = self._unsent + buffers
        try:
            if len(buffers) == 1:
                taken = self._socket.send(buffers[0])
                if taken == len(buffers[0]) and not self._unsent:
                    return
            else:
                taken = self._socket.sendmsg(buffers[:BUFFERS])
        except BlockingIOError:
            taken = 0
        except OSError:
            # The connection is lost. What the peer has said before is still to be read, and then the error.
            self._put_off(())
            return
        self._put_off(after(buffers, taken))

    def _put_off(self, unsent: Sequence[Buffer]) -> None:
        """This is to be sent when the socket takes it."""
        self._unsent = list(unsent)
        self.unsent = sum(map(len, unsent))

    def _watch_unsent(self) -> None:
        if self._unsent and self._writing is None and not self.closed:
            self._writing = self._loop.watch_writable(self._socket.fileno(), self._writable)

    def speak(self, ttl: float = 0.0) -> None:
        """Say PING from another thread, as the loop stands still; but not where a part of a frame waits to be sent."""
        machine = self.machine
        with self._turns.lock:
            if self.closed or self._unsent or not machine.open or machine.minor < 1:
                return
            data = machine.pinged(ttl)
            try:
                taken = self._socket.send(data)
            except OSError:
                return
            if taken == len(data):
                return
            self._put_off((data[taken:],))
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._watch_unsent)

    def _writable(self) -> None:
        with self._turns.lock:
            self._send([])
        if not self._unsent and not self.closed:
            if self._writing is not None:
                self._writing.cancel()
                self._writing = None
            if self.machine.out:
                self.write()
            try:
                self.room()
            except BaseException as error:
                self._turns.contain(error)

    # The end

    def fail(self, error: Exception | None) -> None:
        """The connection has ended."""
        if self.closed:
            return
        if self.machine.out and not self._unsent:
            self.write()  # why, perhaps
        self.close()
        try:
            self.ended(error)
        except BaseException as failure:
            self._turns.contain(failure)

    def close(self) -> None:
        """Close it, whatever waits to be sent."""
        if self.closed:
            return
        self.closed = True
        self.unwatch()
        self._turns.intake.count(self, 0)
        self._left.clear()
        self._rest = None
        self._put_off(())
        self._receive = _ignore  # who is told may know this connection
        self._socket.close()

    def pause(self) -> None:
        """Read no more: what the peer sends stays where it is, and TCP slows it down."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def resume(self) -> None:
        if self._reading is None and not self.closed:
            self._reading = self._loop.watch(self._socket.fileno(), self.readable)

    def unwatch(self) -> None:
        self.pause()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def forked(self) -> None:
        """In a child: it is the parent's."""
        self.closed = True
        if not self._loop.shares_watches:
            self.unwatch()

    def detach(self) -> tuple[_socket.socket, list[Buffer]] | None:
        """Give up the connection for who sends what is left, if anything is; else close it."""
        if self.closed:
            return None
        if not self._unsent:
            self.close()
            return None
        self.closed = True
        self.unwatch()
        self._receive = _ignore
        return self._socket, self._unsent

    def reset(self) -> None:
        """Close it so that the peer's system throws away what it has still to send."""
        if not self.closed:
            self._socket.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()


def _ignore(message: list[Any]) -> None:
    """What comes over a connection that is closed."""
