"""Large values: sequential 1 MiB echoes, beside a bare pyzmq echo without copies.

python benchmarks/large.py [--backend NAME] [--mebibytes N] [--rounds N]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import ringback
import zmq
from running import BACKENDS, options_of, program, server

BARE = """
import sys, zmq
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind(sys.argv[1])
print("ready", flush=True)
while True:
    socket.send_multipart(socket.recv_multipart(copy=False), copy=False)
"""


def rate(echo: Callable[[bytes], object], payload: bytes, seconds: float = 1.0) -> float:
    """Echoes per second."""
    for _ in range(5):
        echo(payload)
    count, begun = 0, time.perf_counter()
    while (now := time.perf_counter()) < begun + seconds:
        echo(payload)
        count += 1
    return count / (now - begun)


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--mebibytes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    payload = b"x" * (options.mebibytes * 1024 * 1024)
    yardstick = "tcp://127.0.0.1:5598"
    with program("-c", BARE, yardstick):
        socket = zmq.Context().socket(zmq.DEALER)
        socket.connect(yardstick)

        def echo_bare(data: bytes) -> None:
            socket.send(data, copy=False)
            socket.recv(copy=False)

        for backend in options.backend or BACKENDS:
            with (
                server(backend) as (_, endpoint),
                ringback.connect(endpoint, max_size=1 << 30) as client,
            ):
                views = client.options(returns=memoryview)
                rates = [
                    (
                        rate(echo_bare, payload),
                        rate(partial(client.call, "echo"), payload),
                        rate(partial(views.call, "mirror"), payload),
                    )
                    for _ in range(options.rounds)
                ]
            for name, column in (("bytes", 1), ("memoryview", 2)):
                ratios = sorted(row[column] / row[0] for row in rates)
                print(
                    f"{backend:10} {name:10} "
                    f"{statistics.median(row[column] for row in rates):>8,.0f} echoes/s,"
                    f" bare {statistics.median(row[0] for row in rates):>8,.0f}:"
                    f" {statistics.median(ratios):.2f}x ({ratios[0]:.2f} .. {ratios[-1]:.2f})"
                )


if __name__ == "__main__":
    main()
