"""A ZMTP connection on a non-blocking socket of the event loop.

It passes on the messages of one read in turns of limited length, and keeps the data that the socket
does not take.
"""

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

# Maximum queued buffers beside messages, mostly PONGs, for a peer that reads nothing.
_UNSAID = 1024

# Maximum bytes of a large frame to wait for before a read.
AT_ONCE = 524_288

_OVER = object()


class SocketStream(ABC):
    """One connection. `kept`: bytes received and not handled yet, as `Intake` counts them."""

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
        """`receive` handles one message.

        For a long message it returns an iterator, and each step handles one part.
        """
        self._loop = loop
        self._socket = connected
        self.machine = machine
        self._turns = turns
        self._receive = receive
        self._left: deque[list[Any]] = deque()  # received messages that wait for their turn
        self._rest: Iterator[object] | None = None  # the remaining parts of the current message
        self._came = 0  # bytes of the read that brought these messages
        self.kept = 0
        self._unsent: list[Buffer] = []  # buffers that the socket did not take
        self.unsent = 0  # their bytes
        self._opened = False
        self.queued = False
        self.heard = True  # whether data have arrived since the last `look`
        self.ready_at = 1  # bytes that have to be in the socket before it becomes readable
        self.closed = False
        self._writing: Handle | None = None
        self._reading: Handle | None = None

    def begin(self) -> None:
        """Send the greeting and start reading."""
        self.resume()
        self.write()

    def opened(self) -> None:  # noqa: B027 - servers do not need it
        """The handshake is done. Called before the first message."""

    @abstractmethod
    def ended(self, error: Exception | None) -> None:
        """The connection has ended, by the error, or None if the peer ended it. Called once."""

    @abstractmethod
    def room(self) -> None:
        """The socket takes data again, after it did not."""

    # Receiving

    def readable(self) -> None:
        """The socket is readable: read once, so that no peer gets more than its turn."""
        turns = self._turns
        if turns.queue:  # other connections wait for their turn, so this one does too
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
        """The messages from one read of the socket."""
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
            self._turns.end()  # send the replies to these messages first
            self.fail(error)
            return ()
        except BaseException as error:
            # The socket may stay readable and be read again at once, so end the connection.
            self._turns.contain(error)
            self.fail(None)
            return ()
        held = self.machine.held
        if (held or self.kept) and not self.closed:
            intake.count(self, held)
        large = self.machine.large
        if large is not None and came >= READ and intake.read == READ:
            # Data arrive fast, so read them in few pieces.
            self._be_told_at(min(large.size - large.filled, AT_ONCE))
        elif self.ready_at > 1:
            self._be_told_at(1)
        return messages

    def _be_told_at(self, size: int) -> None:
        """Let the socket become readable at `size` bytes, or when the connection has ended."""
        if size != self.ready_at and not self.closed:
            self.ready_at = size
            self._socket.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_RCVLOWAT, size)

    def look(self) -> bool:
        """Whether data have arrived since the last call.

        If not, the socket becomes readable at one byte again, so that a shorter rest is read.
        """
        heard, self.heard = self.heard, False
        if not heard:
            self._be_told_at(1)
        return heard

    # Sending

    def send(self, frames: Sequence[Any]) -> bool:
        """Send one message. Returns False if it is not accepted, as unsent data wait already."""
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
        """Send the machine's output, or keep it until the socket takes it."""
        if not self._unsent:
            with self._turns.lock:
                self._send(self.machine.take_out())
            self._watch_unsent()
        elif len(self.machine.out) > _UNSAID:
            self.machine.out.clear()
            self.fail(ZmtpError("it sends pings but reads no replies"))

    def _send(self, buffers: list[Buffer]) -> None:
        """Write the buffers to the socket after the unsent ones; keep those that it does not take.

        The caller holds the lock: no other thread may seal a frame before this one is sent.
        """
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
            # The connection is lost. The next reads get the peer's last data, and then the error.
            self._put_off(())
            return
        self._put_off(after(buffers, taken))

    def _put_off(self, unsent: Sequence[Buffer]) -> None:
        """Keep these buffers until the socket takes them."""
        self._unsent = list(unsent)
        self.unsent = sum(map(len, unsent))

    def _watch_unsent(self) -> None:
        if self._unsent and self._writing is None and not self.closed:
            self._writing = self._loop.watch_writable(self._socket.fileno(), self._writable)

    def speak(self, ttl: float = 0.0) -> None:
        """Send PING from another thread, as the loop is blocked, unless unsent data wait."""
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

    # Closing

    def fail(self, error: Exception | None) -> None:
        """End the connection because of the error; None: the peer ended it."""
        if self.closed:
            return
        if self.machine.out and not self._unsent:
            self.write()  # perhaps the reason, for the peer
        self.close()
        try:
            self.ended(error)
        except BaseException as failure:
            self._turns.contain(failure)

    def close(self) -> None:
        """Close the connection and drop unsent data."""
        if self.closed:
            return
        self.closed = True
        self.unwatch()
        self._turns.intake.count(self, 0)
        self._left.clear()
        self._rest = None
        self._put_off(())
        self._receive = _ignore  # the old callback may refer to this connection
        self._socket.close()

    def pause(self) -> None:
        """Stop reading, so that TCP slows the peer down."""
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
        """In a child: leave the connection to the parent."""
        self.closed = True
        if not self._loop.shares_watches:
            self.unwatch()

    def detach(self) -> tuple[_socket.socket, list[Buffer]] | None:
        """Release the socket and its unsent buffers to the caller; close it if there are none."""
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
        """Close with a TCP reset, so that the peer's system drops its unsent data."""
        if not self.closed:
            self._socket.setsockopt(
                socketlib.SOL_SOCKET, socketlib.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.close()


def _ignore(message: list[Any]) -> None:
    """Drop a message of a closed connection."""
