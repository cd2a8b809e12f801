"""The baseline: a bare pyzmq ROUTER/DEALER echo, one ZeroMQ message per call.

It has no codec, no method names and no errors.

    python benchmarks/bare.py ENDPOINT      serves until killed
"""

from __future__ import annotations

import sys
import time

import zmq

MESSAGE = b"x" * 32


def serve(endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.set(zmq.SNDHWM, 0)
    socket.set(zmq.RCVHWM, 0)
    socket.bind(endpoint)
    print("ready", flush=True)
    while True:
        socket.send_multipart(socket.recv_multipart())


def drive(endpoint: str, in_flight: int, seconds: float) -> float:
    """Calls per second with that many calls in flight."""
    socket = zmq.Context().socket(zmq.DEALER)
    socket.set(zmq.SNDHWM, 0)
    socket.set(zmq.RCVHWM, 0)
    socket.connect(endpoint)
    for _ in range(in_flight):
        socket.send(MESSAGE)
    calls = 0
    block = max(50, in_flight)
    warm = time.perf_counter() + seconds / 4
    while time.perf_counter() < warm:
        for _ in range(block):
            socket.recv()
            socket.send(MESSAGE)
    start = time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        for _ in range(block):
            socket.recv()
            socket.send(MESSAGE)
        calls += block
    for _ in range(in_flight):
        socket.recv()
    return calls / (now - start)


if __name__ == "__main__":
    serve(sys.argv[1])
