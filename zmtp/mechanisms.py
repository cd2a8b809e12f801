"""How two ends come to trust each other before the first message, and whether frames are sealed from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from . import commands
from .errors import ZmtpError

# The reason in an ERROR for a key that is not authorized: a status of ZAP, which libzmq's clients understand.
UNAUTHORIZED = "400"


class Sealer(Protocol):
    """Encrypts frames, and opens the peer's."""

    def seal(self, flags: int, data: bytes | bytearray | memoryview) -> bytes:
        """A whole frame, sealed."""

    def unseal(self, data: bytes) -> tuple[int, bytes]:
        """The flags and the data of a frame that was. Raises ZmtpError."""


class Mechanism(Protocol):
    """The handshake of one end of one connection, made anew for each."""

    @property
    def name(self) -> bytes:
        """As the greeting has it."""

    @property
    def as_server(self) -> bool:
        """Whether this end is its server."""

    @property
    def sealer(self) -> Sealer | None:
        """What frames go through; None where they go as they are."""

    def start(self, properties: bytes) -> list[bytes]:
        """Frames to send when both have greeted; `properties` are what this end says of itself."""

    def take(self, name: bytes, body: bytes) -> tuple[list[bytes], Mapping[bytes, bytes] | None]:
        """A command of the peer's: frames to send, and the peer's properties, once it is known who it is. Raises ZmtpError."""


class Null:
    """NULL: each end says READY, and nothing is sealed."""

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
    """In place of another mechanism, whose name it greets with: no peer is let in, and each is told why."""

    def __init__(self, reason: str, name: bytes = b"NULL") -> None:
        self._reason = reason
        self.name = name
        self.as_server = name != Null.name

    def start(self, properties: bytes) -> list[bytes]:  # noqa: ARG002
        return [commands.refusal(self._reason)]

    def take(self, name: bytes, body: bytes) -> tuple[list[bytes], Mapping[bytes, bytes] | None]:  # noqa: ARG002
        raise ZmtpError(self._reason)
