"""The 64 bytes that each end says first."""

from __future__ import annotations

from typing import NamedTuple

from .errors import ZmtpError

SIZE = 64
# Of these, the signature and the major version: whoever has read that much sends the whole greeting.
BEGIN = 11

_SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"
_VERSION = (3, 1)
# How much of what another protocol says is told.
_TOLD = 40


class Greeting(NamedTuple):
    """What a peer says of itself: the minor version of ZMTP 3, its mechanism, and whether it is the mechanism's server."""

    minor: int
    mechanism: bytes
    as_server: bool


def greeting(mechanism: bytes, *, as_server: bool) -> bytes:
    """Ours."""
    return _SIGNATURE + bytes(_VERSION) + mechanism.ljust(20, b"\0") + bytes((as_server,)) + bytes(31)


def parse(data: bytes) -> Greeting | None:
    """The peer's, of the first bytes that it sent; None where they are too few. Raises ZmtpError as soon as they can be none."""
    if data[:1] != b"\xff" or (len(data) > 9 and not data[9] & 1):
        raise ZmtpError(f"not a ZeroMQ peer: it said {said(data)}")
    if len(data) > 10 and data[10] < _VERSION[0]:
        raise ZmtpError("it speaks ZMTP 2 or older, as libzmq did before 4.0: here is ZMTP 3")
    if len(data) < SIZE:
        return None
    return Greeting(data[11], data[12:32].rstrip(b"\0"), bool(data[32] & 1))


def said(data: bytes) -> str:
    """The first line of what another protocol says, so that a person may know it."""
    line = data.partition(b"\n")[0].rstrip(b"\r")
    return repr(line[:_TOLD].decode("latin-1"))
