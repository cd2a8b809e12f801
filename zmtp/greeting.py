"""The greeting: the first 64 bytes that each end sends."""

from __future__ import annotations

from typing import NamedTuple

from .errors import ZmtpError

SIZE = 64
# Bytes of the signature and the major version. A peer that has read that much sends its whole
# greeting.
BEGIN = 11

_SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"
_VERSION = (3, 1)
# Maximum bytes of another protocol to quote in an error.
_TOLD = 40


class Greeting(NamedTuple):
    """A peer's minor version of ZMTP 3, its mechanism, and whether it is the mechanism's server."""

    minor: int
    mechanism: bytes
    as_server: bool


def greeting(mechanism: bytes, *, as_server: bool) -> bytes:
    """The greeting of this end."""
    return (
        _SIGNATURE + bytes(_VERSION) + mechanism.ljust(20, b"\0") + bytes((as_server,)) + bytes(31)
    )


def parse(data: bytes) -> Greeting | None:
    """Parse the peer's greeting from its first bytes; None if it is incomplete.

    Raises ZmtpError as soon as the bytes cannot be a greeting.
    """
    if data[:1] != b"\xff" or (len(data) > 9 and not data[9] & 1):
        raise ZmtpError(f"not a ZeroMQ peer: it sent {said(data)}")
    if len(data) > 10 and data[10] < _VERSION[0]:
        raise ZmtpError("it speaks ZMTP 2 or older, as libzmq did before 4.0: ZMTP 3 is required")
    if len(data) < SIZE:
        return None
    return Greeting(data[11], data[12:32].rstrip(b"\0"), bool(data[32] & 1))


def said(data: bytes) -> str:
    """The first line of another protocol's data, to recognize that protocol by."""
    line = data.partition(b"\n")[0].rstrip(b"\r")
    return repr(line[:_TOLD].decode("latin-1"))
