"""Commands, which the ends exchange beside messages: a name and a body, often of properties."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import ZmtpError
from .frames import COMMAND, head

READY, ERROR, PING, PONG = b"READY", b"ERROR", b"PING", b"PONG"

# Maximum bytes of a PING's context, which the PONG returns.
CONTEXT = 16


def body_of(name: bytes, body: bytes) -> bytes:
    """The command without the head of its frame."""
    return bytes((len(name),)) + name + body


def frame(name: bytes, body: bytes) -> bytes:
    """The command as a whole frame."""
    data = body_of(name, body)
    return head(COMMAND, len(data)) + data


def split(data: bytes) -> tuple[bytes, bytes]:
    """Split a command into name and body. Raises ZmtpError if there is no name."""
    if not data or not data[0] or len(data) <= data[0]:
        raise ZmtpError("a command without a name")
    return data[1 : 1 + data[0]], data[1 + data[0] :]


def properties(pairs: Mapping[bytes, bytes]) -> bytes:
    """Encode properties. Names have at most 255 bytes."""
    return b"".join(
        bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
        for name, value in pairs.items()
    )


def parse_properties(data: bytes) -> dict[bytes, bytes]:
    """Decode properties, by name in lower case, as names ignore case.

    Raises ZmtpError if the data end too early or a name is missing.
    """
    found: dict[bytes, bytes] = {}
    while data:
        name, data = data[1 : 1 + data[0]], data[1 + data[0] :]
        size = int.from_bytes(data[:4], "big")
        if not name or len(data) < 4 or len(data) - 4 < size:
            raise ZmtpError("properties that end too early")
        found[name.lower()] = data[4 : 4 + size]
        data = data[4 + size :]
    return found


def ping(ttl: float, context: bytes = b"") -> bytes:
    """The body of a PING, whose PONG returns the context.

    After `ttl` seconds of silence the peer may give this end up; 0: never.
    """
    return min(65_535, round(ttl * 10)).to_bytes(2, "big") + context


def refusal(reason: str) -> bytes:
    """An ERROR command as a whole frame."""
    text = reason.encode("latin-1", "replace")[:255]
    return frame(ERROR, bytes((len(text),)) + text)


def reason(body: bytes) -> str:
    """The reason in the body of an ERROR."""
    return body[1 : 1 + body[0]].decode("latin-1") if body else ""
