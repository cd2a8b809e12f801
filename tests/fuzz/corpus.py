"""Writes the part of the corpus that comes from the vectors; what the fuzzers found stands beside
it.

python tests/fuzz/corpus.py
"""

from __future__ import annotations

import fuzzing  # noqa: F401 - for the path
from exchange import HELLO, WELCOME
from oracles import CORPUS, packed, vectors
from ringback.protocol import codec
from ringback.zmtp.commands import PING, frame, properties
from ringback.zmtp.connection import Connection
from zmtp_ends import said as spoken


def said(*messages: object) -> list[bytes]:
    return [bytes(frame) for frame in codec.Encoder().encode(list(messages))[0]]


def main() -> None:
    for end, opening, machine in (("client", HELLO, "server"), ("server", WELCOME, "client")):
        small = [
            batch for batch in vectors(end) if sum(map(len, batch)) < 4096 and len(batch) < 100
        ]
        for number, batch in enumerate(small):
            (CORPUS / "codec" / f"vector-{end}-{number}").write_bytes(packed([batch]))
        for number in range(0, len(small), 8):
            some = [said(opening), *small[number : number + 8]]
            (CORPUS / machine / f"vectors-{number}").write_bytes(packed(some))
    talk = Connection(b"DEALER")
    talk.take_out()
    talk.send([b"", b"a" * 300])
    talk.send([b"b"] * 5)
    some = spoken(talk) + frame(PING, bytes(2) + b"context") + frame(b"SOMETHING", b"else")
    (CORPUS / "zmtp" / "messages").write_bytes(b"\0\7\0\377+" + some)
    (CORPUS / "zmtp" / "handshake").write_bytes(bytes(4) + spoken(Connection(b"DEALER")) + some)
    for way, step in (
        (0, b""),
        (1, b""),
        (2, b"\0"),
        (2, b"\5"),
        (3, properties({b"Socket-Type": b"DEALER"})),
    ):
        (CORPUS / "curve" / f"way-{way}-{len(step)}").write_bytes(
            bytes([way]) + step + frame(b"HELLO", bytes(194))
        )
    sealed = (
        bytes([4, 4, 0, 7]) + b"\4PING\0\0" + bytes([1, 0, 2]) + b"ab" + bytes([8, 0, 3]) + b"abc"
    )
    (CORPUS / "curve" / "sealed").write_bytes(sealed)


if __name__ == "__main__":
    main()
