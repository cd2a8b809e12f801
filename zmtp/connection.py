"""One end of one ZMTP connection, as a state machine without I/O."""

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
    """A command to seal when it is sent, as frames must be sealed in the order of sending."""


# Minimum bytes of a large frame: it is received into a buffer of its own, and sent uncopied.
LARGE = 32_768
# Bytes to read at once while no large frame is arriving.
READ = 65_536

_PEERS = {
    b"ROUTER": (b"DEALER", b"REQ", b"ROUTER"),
    b"DEALER": (b"ROUTER", b"REP", b"DEALER"),
}
_FLAGS = MORE | LONG | COMMAND
_NOT_ALONE = MORE | COMMAND


class Bounds(NamedTuple):
    """Limits for a peer: bytes and frames of a message, bytes of a command and of the handshake."""

    message: int = 17 << 20
    frames: int = 1024
    command: int = 65_536
    handshake: int = 65_536


_USUAL = Bounds()


class Connection:
    """One end of one ZMTP connection.

    `feed` takes received bytes and returns complete messages, each a list of frames. Buffers to
    send gather in `out`, until `take_out`. The connection is `open` once the handshake is done;
    then `peer` has the peer's properties. While `large` is an incomplete frame, the next bytes may
    be written to its `space`, and `feed` gets no data.

    Memory for a peer is what it has sent, whatever sizes its frame heads claim: `held` bytes.
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
        """`cautious`: read the peer's greeting before this end has sent all of its own.

        libzmq closes a connection with another mechanism, and its own greeting, which names the
        mechanism, may be lost.
        """
        self._socket_type = socket_type
        self._mechanism: Mechanism = Null() if mechanism is None else mechanism
        self._said = commands.properties({b"Socket-Type": socket_type, b"Identity": identity})
        self._bounds = bounds
        self._handshake = 0  # bytes received before the connection was open
        self._begun = False  # whether the peer's greeting has been read
        self._rest = b""
        self._parts: list[Buffer] = []  # frames of an incomplete message
        self._bytes = 0  # their bytes
        self.large: Filling | None = None  # an incomplete large frame
        self.held = 0  # bytes of all incomplete data
        self._flags = 0  # flags of `large`
        self.minor = 0
        self.open = False
        self._simple = False  # open, and not encrypted
        self.peer: Mapping[bytes, bytes] = {}
        # Seconds of silence after which the peer asks to be given up; 0 if it has not announced
        # any.
        self.ttl = 0.0
        self.pongs = 0
        greets = greeting.greeting(self._mechanism.name, as_server=self._mechanism.as_server)
        self._greets = greets[greeting.BEGIN :] if cautious else b""  # its unsent part
        self.out: list[Buffer] = [greets[: greeting.BEGIN] if cautious else greets]

    def take_out(self) -> list[Buffer]:
        """The buffers to send; small ones are joined."""
        out, self.out = self.out, []
        if (sealer := self._mechanism.sealer) is not None:
            out = [sealer.seal(COMMAND, each) if type(each) is _Unsealed else each for each in out]
        return _joined(out) if len(out) > 1 else out

    # Receiving

    def feed(self, data: bytes) -> list[list[Buffer]]:
        """Take received bytes. Returns the messages that are complete now.

        Raises ZmtpError if the connection cannot go on; the buffers in `out` still have to be sent.
        """
        if (
            len(data) > 2
            and not data[0]
            and data[1] == len(data) - 2
            and self._simple
            and not (self.held or self._parts or self.large)
        ):
            return [[data[2:]]]  # fast path for the most frequent case: one short complete message
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
        """Update `held`, the bytes of incomplete data."""
        self.held = len(self._rest) + self._bytes + (0 if self.large is None else self.large.filled)

    def _not_open(self, data: bytes) -> bytes | None:
        """Read the peer's greeting. Returns the data after it; None if it is incomplete."""
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
        """Handle all complete frames. Returns the rest of the data."""
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
                    raise ZmtpError(f"a handshake of more than {self._bounds.handshake:,} bytes")
            if flags & _NOT_ALONE or self._parts or not self._simple:
                self._take(flags, data[begin:end], messages)
            else:
                messages.append([data[begin:end]])
            at = end
        return data[at:] if at else data

    def _look(self, flags: int, length: int) -> None:
        """Check a frame's head before waiting for the size that it claims. Raises ZmtpError."""
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
        """Prepare for a large frame."""
        try:
            self.large, self._flags = Filling(length), flags
        except MemoryError:
            raise ZmtpError(f"no memory for a frame of {length:,} bytes") from None
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
        # Other commands are for other socket types or other versions.

    def _know(self, peer: Mapping[bytes, bytes]) -> None:
        kind = peer.get(b"socket-type", b"")
        if kind not in _PEERS[self._socket_type]:
            told = kind.decode("latin-1") or "socket without a type"
            raise ZmtpError(
                f"it is a {told}, which does not talk to a {self._socket_type.decode()}"
            )
        self.peer, self.open = peer, True
        self._simple = self._mechanism.sealer is None

    # Sending

    def send(self, frames: Sequence[Buffer]) -> None:
        """Send one message. Frames of 32 KiB or more are not copied: do not change them before."""
        self.out = [*self.take_out(), *self.framed(frames)]

    def framed(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """One message as buffers to send at once, while `out` is empty."""
        last = len(frames) - 1
        if (sealer := self._mechanism.sealer) is not None:
            if not last and len(frames[0]) < LARGE:
                return [sealer.seal(0, frames[0])]
            return [
                sealer.seal(MORE if place < last else 0, frame)
                for place, frame in enumerate(frames)
            ]
        if not last and (size := len(frames[0])) < LARGE:
            return [(SHORT_HEADS[size] if size < SHORT else head(0, size)) + frames[0]]
        buffers: list[Buffer] = []
        for place, frame in enumerate(frames):
            buffers.append(head(MORE if place < last else 0, len(frame)))
            buffers.append(frame)
        return _joined(buffers)

    def ping(self, ttl: float = 0.0, context: bytes = b"") -> bool:
        """Send a PING; after `ttl` seconds of silence the peer may give this end up.

        Returns False if the peer is too old to know PING (ZMTP 3.0).
        """
        if self.minor < 1:
            return False
        self._say(commands.PING, commands.ping(ttl, context))
        return True

    def pinged(self, ttl: float = 0.0) -> Buffer:
        """A PING as bytes to send at once."""
        if (sealer := self._mechanism.sealer) is not None:
            return sealer.seal(COMMAND, commands.body_of(commands.PING, commands.ping(ttl)))
        return commands.frame(commands.PING, commands.ping(ttl))

    def _say(self, name: bytes, body: bytes) -> None:
        if self._mechanism.sealer is not None:
            self.out.append(_Unsealed(commands.body_of(name, body)))
        else:
            self.out.append(commands.frame(name, body))


def _joined(buffers: list[Buffer]) -> list[Buffer]:
    """The same buffers, with adjacent small ones joined."""
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
