"""Large values: a 1 MiB echo, one at a time, beside a bare pyzmq echo that copies nothing, in one run.

python benchmarks/large.py [--backend NAME] [--mebibytes N] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ringback
import zmq

HERE = Path(__file__).parent
BARE = """
import sys, zmq
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind(sys.argv[1])
print("ready", flush=True)
while True:
    socket.send_multipart(socket.recv_multipart(copy=False), copy=False)
"""
BACKENDS = ("asyncio", "gevent", "threading", "twisted")


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    parser.add_argument("--mebibytes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    payload = b"x" * (options.mebibytes * 1024 * 1024)
    yardstick = "tcp://127.0.0.1:5598"
    bare = subprocess.Popen([sys.executable, "-c", BARE, yardstick], stdout=subprocess.PIPE, text=True)
    assert bare.stdout is not None
    bare.stdout.readline()
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(yardstick)

    def echo_bare(data: bytes) -> None:
        socket.send(data, copy=False)
        socket.recv(copy=False)

    try:
        for backend in options.backend or BACKENDS:
            command = [sys.executable, "-m", "ringback.server", f"{HERE / 'service.py'}:service"]
            server = subprocess.Popen(
                [*command, "--backend", backend, "--bind", "tcp://127.0.0.1:*"],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert server.stdout is not None
            endpoint = server.stdout.readline().split()[-2]
            try:
                with ringback.connect(endpoint, max_size=1 << 30) as client:
                    views = client.options(returns=memoryview)
                    rates = [
                        (
                            rate(echo_bare, payload),
                            rate(partial(client.call, "echo"), payload),
                            rate(partial(views.call, "mirror"), payload),
                        )
                        for _ in range(options.rounds)
                    ]
            finally:
                server.terminate()
                server.wait()
            for name, column in (("bytes", 1), ("memoryview", 2)):
                ratios = sorted(row[column] / row[0] for row in rates)
                print(
                    f"{backend:10} {name:10} {statistics.median(row[column] for row in rates):>8,.0f} echoes/s,"
                    f" bare {statistics.median(row[0] for row in rates):>8,.0f}:"
                    f" {statistics.median(ratios):.2f}x ({ratios[0]:.2f} .. {ratios[-1]:.2f})"
                )
    finally:
        bare.kill()


if __name__ == "__main__":
    main()
