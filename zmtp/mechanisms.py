"""Security mechanisms: the handshake before the first message, then the sealing of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from . import commands
from .errors import ZmtpError

# The reason in an ERROR for an unauthorized key: a ZAP status, which libzmq's clients understand.
UNAUTHORIZED = "400"


class Sealer(Protocol):
    """Encrypts frames, and decrypts the peer's frames."""

    def seal(self, flags: int, data: bytes | bytearray | memoryview) -> bytes:
        """Encrypt data to a whole frame."""

    def unseal(self, data: bytes) -> tuple[int, bytes]:
        """The flags and the data of an encrypted frame. Raises ZmtpError."""


class Mechanism(Protocol):
    """The handshake of one end of one connection. Each connection has its own object."""

    @property
    def name(self) -> bytes:
        """The name in the greeting."""

    @property
    def as_server(self) -> bool:
        """Whether this end is the mechanism's server."""

    @property
    def sealer(self) -> Sealer | None:
        """The sealer of frames; None if they are not encrypted."""

    def start(self, properties: bytes) -> list[bytes]:
        """Frames to send after both greetings. `properties`: the encoded properties of this end."""

    def take(self, name: bytes, body: bytes) -> tuple[list[bytes], Mapping[bytes, bytes] | None]:
        """Handle a command of the peer. Raises ZmtpError.

        Returns frames to send, and the peer's properties once the peer is known.
        """


class Null:
    """NULL: each end sends READY, and frames are not encrypted."""

    name = b"NULL"
    as_server = False
    sealer = None

    def start(self, properties: bytes) -> list[bytes]:
        return [commands.frame(commands.READY, properties)]

    def take(self, name: bytes, body: bytes) -> tuple[list[bytes], Mapping[bytes, bytes] | None]:
        if name != commands.READY:
            raise ZmtpError(f"a command {name.decode('latin-1')!r} in place of READY")
        return [], commands.parse_properties(body)


class RefusingMechanism(Null):
    """A mechanism that refuses every peer, with a reason. It takes the place of the one named."""

    def __init__(self, reason: str, name: bytes = b"NULL") -> None:
        self._reason = reason
        self.name = name
        self.as_server = name != Null.name

    def start(self, properties: bytes) -> list[bytes]:  # noqa: ARG002
        return [commands.refusal(self._reason)]

    def take(self, name: bytes, body: bytes) -> tuple[list[bytes], Mapping[bytes, bytes] | None]:  # noqa: ARG002
        raise ZmtpError(self._reason)
