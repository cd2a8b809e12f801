"""Cost of idle connections: resident memory beside a bare ROUTER's, and the latency of a call.

python benchmarks/connections.py [--backend NAME]... [--connections N]
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from pathlib import Path

import ringback
import zmq
from ringback.protocol import codec
from ringback.protocol.messages import Hello
from running import BACKENDS, bare_echo, options_of, server


def resident(pid: int) -> int:
    """Resident memory of the process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def latency(endpoint: str, calls: int = 300) -> float:
    """Median latency of a lone call in seconds."""
    with ringback.connect(endpoint) as client:
        took = []
        for _ in range(calls):
            begun = time.perf_counter()
            client.call("echo", "x")
            took.append(time.perf_counter() - begun)
        return statistics.median(took)


def connect(
    context: zmq.Context, endpoint: str, count: int, first: list[bytes]
) -> list[zmq.Socket]:
    """That many connections, each with a message sent and answered."""
    sockets = []
    for _ in range(count):
        socket = context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.connect(endpoint)
        socket.send_multipart(first)
        sockets.append(socket)
        if len(sockets) % 100 == 0:
            for one in sockets[-100:]:
                one.recv_multipart()
    return sockets


def cost(
    pid: int, endpoint: str, count: int, first: list[bytes]
) -> tuple[float, zmq.Context, list[zmq.Socket]]:
    """Bytes per connection in the process, and the open connections."""
    context = zmq.Context(4)
    context.set(zmq.MAX_SOCKETS, count + 10)
    for one in connect(context, endpoint, 200, first):  # warm-up: the first connections cost more
        one.close()
    time.sleep(1)
    before = resident(pid)
    sockets = connect(context, endpoint, count, first)
    time.sleep(1)
    return (resident(pid) - before) / count, context, sockets


def close(context: zmq.Context, sockets: list[zmq.Socket]) -> None:
    for one in sockets:
        one.close()
    context.term()


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--connections", type=int, default=4000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = options.connections
    hello = [bytes(frame) for frame in codec.Encoder().encode([Hello(b"c" * 16, 1 << 24)])[0]]
    yardstick = "tcp://127.0.0.1:5597"
    with bare_echo(yardstick) as process:
        bare, context, sockets = cost(process.pid, yardstick, count, [b"x"])
        close(context, sockets)
    print(f"{'bare':10} {bare / 1024:6.1f} KiB a connection")
    for backend in options.backend or BACKENDS:
        with server(backend) as (process, endpoint):
            idle = latency(endpoint)
            each, context, sockets = cost(process.pid, endpoint, count, hello)
            busy = latency(endpoint)
            close(context, sockets)
        print(
            f"{backend:10} {each / 1024:6.1f} KiB a connection, {each / bare:.2f}x;"
            f" a call {idle * 1e6:.0f} us alone, {busy * 1e6:.0f} us beside {count}"
        )


if __name__ == "__main__":
    main()
