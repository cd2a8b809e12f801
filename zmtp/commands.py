"""Commands: a name and a body, which two ends say to each other beside messages; and the properties that some bodies are made of."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import ZmtpError
from .frames import COMMAND, head

READY, ERROR, PING, PONG = b"READY", b"ERROR", b"PING", b"PONG"

# Bytes that a PING may ask to have back.
CONTEXT = 16


def body_of(name: bytes, body: bytes) -> bytes:
    """The command, without the head of its frame."""
    return bytes((len(name),)) + name + body


def frame(name: bytes, body: bytes) -> bytes:
    """The command as a whole frame."""
    data = body_of(name, body)
    return head(COMMAND, len(data)) + data


def split(data: bytes) -> tuple[bytes, bytes]:
    """Name and body. Raises ZmtpError where there is no name."""
    if not data or not data[0] or len(data) <= data[0]:
        raise ZmtpError("a command without a name")
    return data[1 : 1 + data[0]], data[1 + data[0] :]


def properties(pairs: Mapping[bytes, bytes]) -> bytes:
    """Names of up to 255 bytes, and values."""
    return b"".join(
        bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value for name, value in pairs.items()
    )


def parse_properties(data: bytes) -> dict[bytes, bytes]:
    """By their names, in lower case, as case does not count. Raises ZmtpError where they end too early, or a name is missing."""
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
    """The body of a PING, to be answered with that context; after so many seconds of silence the peer may give this end up."""
    return min(65_535, round(ttl * 10)).to_bytes(2, "big") + context


def refusal(reason: str) -> bytes:
    """An ERROR, as a whole frame."""
    text = reason.encode("latin-1", "replace")[:255]
    return frame(ERROR, bytes((len(text),)) + text)


def reason(body: bytes) -> str:
    """That of an ERROR."""
    return body[1 : 1 + body[0]].decode("latin-1") if body else ""
