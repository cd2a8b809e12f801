"""Bytes that a peer may put into CURVE's handshake, and behind it: as they are, and sealed by who
has a key.
"""

from __future__ import annotations

from collections.abc import Callable

from ringback.zmtp import curve
from ringback.zmtp.connection import Bounds, Connection
from ringback.zmtp.errors import ZmtpError
from zmtp_ends import said

SERVER, CLIENT = curve.keypair(), curve.keypair()

# Bounds that an input of the fuzzer's can go beyond.
BOUNDS = Bounds(message=100_000, frames=20, command=1000, handshake=2000)


def server() -> Connection:
    return Connection(
        b"ROUTER", curve.CurveServer(*SERVER, lambda key: key == CLIENT[0]), bounds=BOUNDS
    )


def client() -> Connection:
    return Connection(b"DEALER", curve.CurveClient(SERVER[0], *CLIENT), bounds=BOUNDS)


def check_curve(data: bytes) -> None:
    """Every input is taken or ends in a ZmtpError, is open only to who has the key, and nothing is
    kept but what has come.
    """
    if data:
        _WAYS[data[0] % len(_WAYS)](data[1:])


def _feed(end: Connection, data: bytes, before: int = 0) -> bool:
    """Whether the connection goes on. `before`: bytes that came earlier."""
    try:
        end.feed(data)
    except ZmtpError:
        return False
    assert end.held <= before + len(data)
    return True


def _to_server(data: bytes) -> None:
    """A stranger's bytes behind its greeting."""
    end = server()
    _feed(end, said(client()) + data)
    assert not end.open


def _to_client(data: bytes) -> None:
    """The same of what is no server, to a client that has said HELLO."""
    end = client()
    _feed(end, said(server()) + data)
    assert not end.open


def _shake(ours: Connection, theirs: Connection, steps: int) -> None:
    """So many steps of an honest handshake: two greetings, HELLO, WELCOME, INITIATE, READY."""
    for _ in range(steps):
        theirs.feed(said(ours))
        ours, theirs = theirs, ours


def _later_in_the_handshake(data: bytes) -> None:
    """Bytes in place of a step: the first says which."""
    ours, theirs = client(), server()
    _shake(ours, theirs, data[0] % 7 if data else 0)
    for end in (ours, theirs):
        was = end.open
        _feed(end, data[1:])
        assert end.open == was


def _properties(data: bytes) -> None:
    """What a client with a key says of itself."""
    ours, theirs = client(), server()
    _shake(ours, theirs, 2)
    ours._mechanism._properties = data  # type: ignore[attr-defined]
    if _feed(theirs, said(ours)) and _feed(ours, said(theirs)):
        try:
            theirs.feed(said(ours))
        except ZmtpError:
            assert not theirs.open


def _sealed(data: bytes) -> None:
    """Frames that a client with a key has sealed: flags, a length, data, again and again."""
    ours, theirs = client(), server()
    _shake(ours, theirs, 6)
    assert theirs.open
    seal = ours._mechanism.sealer
    assert seal is not None
    came = 0
    while data:
        flags, length, data = data[0], int.from_bytes(data[1:3], "big"), data[3:]
        frame = seal.seal(flags & 5, data[:length])
        if flags & 8:  # changed on the way
            place = length % len(frame)
            frame = frame[:place] + bytes([frame[place] ^ (flags | 1)]) + frame[place + 1 :]
        if not _feed(theirs, frame, came):
            return
        came += len(frame)
        assert len(said(theirs)) < len(frame) + 100
        data = data[length:]


_WAYS: tuple[Callable[[bytes], None], ...] = (
    _to_server,
    _to_client,
    _later_in_the_handshake,
    _properties,
    _sealed,
)
