"""Connections that do nothing: they greet the server as a client does, and then are silent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from ...protocol.codec import Encoder
from ...protocol.messages import Hello

# Milliseconds that the server may take to welcome each of them.
_PATIENCE = 5_000


@contextmanager
def connections(endpoint: str, count: int) -> Iterator[None]:
    """As many, each welcomed by the server, until the `with` is left. Raises RuntimeError where the server does not answer."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, count + 16)
    try:
        dealers = []
        for _ in range(count):
            dealer = context.socket(zmq.DEALER)
            dealer.set(zmq.RCVTIMEO, _PATIENCE)
            dealer.connect(endpoint)
            dealer.send_multipart(Encoder().encode([Hello(os.urandom(16), 1 << 20)])[0])
            dealers.append(dealer)
        for number, dealer in enumerate(dealers, 1):
            try:
                dealer.recv_multipart()
            except zmq.Again:
                raise RuntimeError(
                    f"{endpoint} did not welcome idle connection {number} of {count}"
                ) from None
        yield
    finally:
        context.destroy(linger=0)
