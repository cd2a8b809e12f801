"""Two ends that talk to each other in memory, and bytes cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence

from ringback.zmtp.connection import Buffer, Connection


def said(connection: Connection) -> bytes:
    """All that it has to say."""
    return b"".join(connection.take_out())


def joined(**how: object) -> tuple[Connection, Connection]:
    """A DEALER and a ROUTER that know each other."""
    dealer, router = Connection(b"DEALER", identity=b"me"), Connection(b"ROUTER", **how)  # type: ignore[arg-type]
    while not (dealer.open and router.open):
        assert not router.feed(said(dealer))
        assert not dealer.feed(said(router))
    return dealer, router


def whole(messages: Sequence[Sequence[Buffer]]) -> list[list[bytes]]:
    """Messages as plain bytes."""
    return [[bytes(frame) for frame in message] for message in messages]


def in_pieces(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut, so many bytes at a time, again and again."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return pieces
