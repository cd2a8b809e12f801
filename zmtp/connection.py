"""One end of one connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from . import commands, greeting
from .errors import OtherMechanism, Refused, ZmtpError
from .filling import Filling
from .frames import COMMAND, LONG, MORE, SHORT, SHORT_HEADS, head
from .mechanisms import Mechanism, Null

Buffer = bytes | bytearray | memoryview


class _Unsealed(bytes):
    """A command that is sealed when it is sent: the order of sealing is that of the wire."""


# From so many bytes on, a frame that is not whole has its place, and what is sent is not copied.
LARGE = 32_768
# What to read at once, while nothing large comes.
READ = 65_536

_PEERS = {
    b"ROUTER": (b"DEALER", b"REQ", b"ROUTER"),
    b"DEALER": (b"ROUTER", b"REP", b"DEALER"),
}
_FLAGS = MORE | LONG | COMMAND
_NOT_ALONE = MORE | COMMAND


class Bounds(NamedTuple):
    """Of what a peer may send: the bytes and frames of a message, the bytes of a command, and those of all that comes before the peer is
    known."""

    message: int = 17 << 20
    frames: int = 1024
    command: int = 65_536
    handshake: int = 65_536


_USUAL = Bounds()


class Connection:
    """`feed` takes what has come and gives whole messages, each a list of frames; what is to be sent gathers in `out`, until `take_out`. It
    is `open` once both ends know each other; then `peer` has what the other end says of itself. Where `large` is a frame that is on its
    way, what comes next may be written to its `space`, and `feed` be given nothing.

    What is kept for a peer is what it has sent, whatever its heads claim: `held` bytes.
    """

    __slots__ = (
        "_begun",
        "_bounds",
        "_bytes",
        "_flags",
        "_greets",
        "_handshake",
        "_mechanism",
        "_parts",
        "_rest",
        "_said",
        "_simple",
        "_socket_type",
        "held",
        "large",
        "minor",
        "open",
        "out",
        "peer",
        "pongs",
        "ttl",
    )

    def __init__(
        self,
        socket_type: bytes,
        mechanism: Mechanism | None = None,
        *,
        identity: bytes = b"",
        bounds: Bounds = _USUAL,
        cautious: bool = False,
    ) -> None:
        """`cautious`: read the peer's greeting before the end of this one. libzmq closes a connection at another mechanism, and its own
        greeting, which names it, may be lost."""
        self._socket_type = socket_type
        self._mechanism: Mechanism = Null() if mechanism is None else mechanism
        self._said = commands.properties({b"Socket-Type": socket_type, b"Identity": identity})
        self._bounds = bounds
        self._handshake = 0  # bytes that came before it was open
        self._begun = False  # the handshake, behind the greeting
        self._rest = b""
        self._parts: list[Buffer] = []  # frames of a message that is not whole
        self._bytes = 0  # in them
        self.large: Filling | None = None  # a frame that is not whole
        self.held = 0  # bytes of all that is not
        self._flags = 0  # its own
        self.minor = 0
        self.open = False
        self._simple = False  # open, and not encrypted
        self.peer: Mapping[bytes, bytes] = {}
        self.ttl = (
            0.0  # seconds of silence after which the peer wants to be given up; 0 where it has not said
        )
        self.pongs = 0
        greets = greeting.greeting(self._mechanism.name, as_server=self._mechanism.as_server)
        self._greets = greets[greeting.BEGIN :] if cautious else b""  # what is still to be sent of it
        self.out: list[Buffer] = [greets[: greeting.BEGIN] if cautious else greets]

    def take_out(self) -> list[Buffer]:
        """What is to be sent, small buffers joined."""
        out, self.out = self.out, []
        if (sealer := self._mechanism.sealer) is not None:
            out = [sealer.seal(COMMAND, each) if type(each) is _Unsealed else each for each in out]
        return _joined(out) if len(out) > 1 else out

    # In

    def feed(self, data: bytes) -> list[list[Buffer]]:
        """The messages that are whole now. Raises ZmtpError where the connection cannot go on; what was to be sent is still to be."""
        if (
            len(data) > 2
            and not data[0]
            and data[1] == len(data) - 2
            and self._simple
            and not (self.held or self._parts or self.large)
        ):
            return [[data[2:]]]  # in short, for the most frequent case: one short message, whole
        messages: list[list[Buffer]] = []
        try:
            if (large := self.large) is not None:
                data = data[large.add(data) :] if data else data
                if large.filled < large.size:
                    self._hold()
                    return messages
                self.large = None
                self._take(self._flags, large.whole(), messages)
            if self._rest:
                data = self._rest + data
                self._rest = b""
            if not self.open:
                rest = self._not_open(data)
                if rest is None:
                    self._hold()
                    return messages
                data = rest
            self._rest = rest = self._read(data, messages)
            if rest or self._parts or self.held or self.large is not None:
                self._hold()
        except ZmtpError as error:
            error.before = messages
            if error.farewell:
                self.out.append(error.farewell)
            raise
        return messages

    def _hold(self) -> None:
        """See how much is not whole."""
        self.held = len(self._rest) + self._bytes + (0 if self.large is None else self.large.filled)

    def _not_open(self, data: bytes) -> bytes | None:
        """What is left behind the greeting; None where that is not whole."""
        if self._begun:
            return data
        found = greeting.parse(data) if data else None
        if found is None:
            self._rest = data
            return None
        if found.mechanism != self._mechanism.name:
            raise OtherMechanism(found.mechanism.decode("latin-1"), self._mechanism.name.decode())
        if found.as_server and self._mechanism.as_server:
            raise ZmtpError("both ends are the server of their mechanism")
        self.minor, self._begun = found.minor, True
        if self._greets:
            self.out.append(self._greets)
        self.out += self._mechanism.start(self._said)
        return data[greeting.SIZE :]

    def _read(self, data: bytes, messages: list[list[Buffer]]) -> bytes:
        """Take each whole frame. What is left of the last."""
        at, size = 0, len(data)
        while size - at > 1:
            flags = data[at]
            if flags & LONG:
                if size - at < 9:
                    break
                begin = at + 9
                length = int.from_bytes(data[at + 1 : begin], "big")
            else:
                begin = at + 2
                length = data[at + 1]
            end = begin + length
            if flags or end > size:
                self._look(flags, length)
                if end > size:
                    if length < LARGE or flags & COMMAND:
                        break
                    self._expect(flags, length).add(memoryview(data)[begin:])
                    return b""
            if not self.open:
                self._handshake += end - at
                if self._handshake > self._bounds.handshake:
                    raise ZmtpError("a handshake without end")
            if flags & _NOT_ALONE or self._parts or not self._simple:
                self._take(flags, data[begin:end], messages)
            else:
                messages.append([data[begin:end]])
            at = end
        return data[at:] if at else data

    def _look(self, flags: int, length: int) -> None:
        """At a frame's head, before what it claims is waited for."""
        if flags & ~_FLAGS or flags & (COMMAND | MORE) == COMMAND | MORE:
            raise ZmtpError(f"a frame with flags {flags:#04x}")
        if flags & COMMAND:
            if length > self._bounds.command:
                raise ZmtpError(f"a command of {length:,} bytes")
        elif not self.open:
            raise ZmtpError("a message before the handshake")
        elif self._bytes + length > self._bounds.message:
            raise ZmtpError(f"a message of more than {self._bounds.message:,} bytes")

    def _expect(self, flags: int, length: int) -> Filling:
        """A large frame is on its way."""
        try:
            self.large, self._flags = Filling(length), flags
        except MemoryError:
            raise ZmtpError(f"there is no memory for a frame of {length:,} bytes") from None
        return self.large

    def _take(self, flags: int, frame: bytes, messages: list[list[Buffer]]) -> None:
        if (sealer := self._mechanism.sealer) is not None:
            if flags & (COMMAND | MORE):
                raise ZmtpError("a frame that is not encrypted")
            flags, frame = sealer.unseal(frame)
        if flags & COMMAND:
            self._command(frame)
            return
        if not self.open:
            raise ZmtpError("a message before the handshake")
        if not flags & MORE and not self._parts:
            messages.append([frame])
            return
        self._parts.append(frame)
        self._bytes += len(frame)
        if self._bytes > self._bounds.message:
            raise ZmtpError(f"a message of more than {self._bounds.message:,} bytes")
        if len(self._parts) > self._bounds.frames:
            raise ZmtpError(f"a message of more than {self._bounds.frames:,} frames")
        if not flags & MORE:
            messages.append(self._parts)
            self._parts, self._bytes = [], 0

    def _command(self, data: bytes) -> None:
        name, body = commands.split(data)
        if name == commands.ERROR:
            raise Refused(commands.reason(body) or "without a reason")
        if not self.open:
            out, peer = self._mechanism.take(name, body)
            self.out += out
            if peer is not None:
                self._know(peer)
        elif name == commands.PING:
            if not 2 <= len(body) <= 2 + commands.CONTEXT:
                raise ZmtpError(f"a PING of {len(body)} bytes")
            self.ttl = int.from_bytes(body[:2], "big") / 10
            self._say(commands.PONG, body[2:])
        elif name == commands.PONG:
            self.pongs += 1
        # What else there may be is for other kinds of sockets, or other versions.

    def _know(self, peer: Mapping[bytes, bytes]) -> None:
        kind = peer.get(b"socket-type", b"")
        if kind not in _PEERS[self._socket_type]:
            told = kind.decode("latin-1") or "socket without a type"
            raise ZmtpError(f"it is a {told}, which does not talk to a {self._socket_type.decode()}")
        self.peer, self.open = peer, True
        self._simple = self._mechanism.sealer is None

    # Out

    def send(self, frames: Sequence[Buffer]) -> None:
        """One message. Frames of 32 KiB or more are not copied: they have to stay as they are until they are sent."""
        self.out = [*self.take_out(), *self.framed(frames)]

    def framed(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """One message as the buffers to send at once, while `out` is empty."""
        last = len(frames) - 1
        if (sealer := self._mechanism.sealer) is not None:
            if not last and len(frames[0]) < LARGE:
                return [sealer.seal(0, frames[0])]
            return [sealer.seal(MORE if place < last else 0, frame) for place, frame in enumerate(frames)]
        if not last and (size := len(frames[0])) < LARGE:
            return [(SHORT_HEADS[size] if size < SHORT else head(0, size)) + frames[0]]
        buffers: list[Buffer] = []
        for place, frame in enumerate(frames):
            buffers.append(head(MORE if place < last else 0, len(frame)))
            buffers.append(frame)
        return _joined(buffers)

    def ping(self, ttl: float = 0.0, context: bytes = b"") -> bool:
        """Ask whether the peer is there; after so many seconds of silence it may give this end up. False where the peer is too old to know
        of that (ZMTP 3.0)."""
        if self.minor < 1:
            return False
        self._say(commands.PING, commands.ping(ttl, context))
        return True

    def pinged(self, ttl: float = 0.0) -> Buffer:
        """A PING as the bytes to send at once."""
        if (sealer := self._mechanism.sealer) is not None:
            return sealer.seal(COMMAND, commands.body_of(commands.PING, commands.ping(ttl)))
        return commands.frame(commands.PING, commands.ping(ttl))

    def _say(self, name: bytes, body: bytes) -> None:
        if self._mechanism.sealer is not None:
            self.out.append(_Unsealed(commands.body_of(name, body)))
        else:
            self.out.append(commands.frame(name, body))


def _joined(buffers: list[Buffer]) -> list[Buffer]:
    """The same bytes; small buffers that follow each other are one."""
    joined: list[Buffer] = []
    small: list[Buffer] = []
    for buffer in buffers:
        if len(buffer) < LARGE:
            small.append(buffer)
            continue
        if small:
            joined.append(b"".join(small))
            small = []
        joined.append(buffer)
    if small:
        joined.append(b"".join(small))
    return joined
