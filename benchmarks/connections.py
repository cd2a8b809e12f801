"""What an idle connection costs a server: resident memory beside a bare ROUTER's, and the time of a call on one of them.

python benchmarks/connections.py [--backend NAME]... [--connections N]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import ringback
import zmq
from ringback.protocol import codec
from ringback.protocol.messages import Hello

HERE = Path(__file__).parent
BACKENDS = ("asyncio", "gevent", "threading", "twisted")


def resident(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def latency(endpoint: str, calls: int = 300) -> float:
    """The median of the seconds that a lone call takes."""
    with ringback.connect(endpoint) as client:
        took = []
        for _ in range(calls):
            begun = time.perf_counter()
            client.call("echo", "x")
            took.append(time.perf_counter() - begun)
        return statistics.median(took)


def connect(context: zmq.Context, endpoint: str, count: int, first: list[bytes]) -> list[zmq.Socket]:
    """So many connections that have said something and had an answer."""
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
    """Bytes a connection costs the process, and the connections."""
    context = zmq.Context(4)
    context.set(zmq.MAX_SOCKETS, count + 10)
    for one in connect(context, endpoint, 200, first):  # what the first of them cost is no measure
        one.close()
    time.sleep(1)
    before = resident(pid)
    sockets = connect(context, endpoint, count, first)
    time.sleep(1)
    return (resident(pid) - before) / count, context, sockets


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    parser.add_argument("--connections", type=int, default=4000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = options.connections
    hello = [bytes(frame) for frame in codec.Encoder().encode([Hello(b"c" * 16, 1 << 24)])[0]]
    programs = {"bare": [str(HERE / "bare.py"), "tcp://127.0.0.1:5597"]}
    for backend in options.backend or BACKENDS:
        serve = ["-m", "ringback.server", f"{HERE / 'service.py'}:service", "--backend", backend]
        programs[backend] = [*serve, "--bind", "tcp://127.0.0.1:*"]
    bare = 0.0
    for name, words in programs.items():
        server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        line = server.stdout.readline()
        endpoint = words[1] if name == "bare" else line.split()[-2]
        try:
            idle = 0.0 if name == "bare" else latency(endpoint)
            each, context, sockets = cost(server.pid, endpoint, count, [b"x"] if name == "bare" else hello)
            if name == "bare":
                bare = each
                print(f"{name:10} {each / 1024:6.1f} KiB a connection")
            else:
                busy = latency(endpoint)
                print(
                    f"{name:10} {each / 1024:6.1f} KiB a connection, {each / bare:.2f}x;"
                    f" a call {idle * 1e6:.0f} us alone, {busy * 1e6:.0f} us beside {count}"
                )
            for one in sockets:
                one.close()
            context.term()
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
