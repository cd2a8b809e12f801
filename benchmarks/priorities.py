"""Priorities: p99 of urgent calls while low-priority calls keep all workers busy, beside an idle
server.

    python benchmarks/priorities.py [--backend NAME]... [--workers N] [--waiting N] [--calls N]
"""

from __future__ import annotations

import time

import ringback
from running import BACKENDS, options_of, program, server

# `fire` waits at the limit of calls in flight, so the client stays at that limit.
LOW = """
import sys
import ringback
endpoint, count = sys.argv[1], int(sys.argv[2])
with ringback.connect(endpoint, max_in_flight=count, timeout=None) as client:
    for number in range(sys.maxsize):
        client.fire("nap")
        if number == count:
            print("begun", flush=True)
"""


def p99(endpoint: str, calls: int, priority: int) -> float:
    """The p99 latency of sequential calls, in seconds."""
    took = []
    with ringback.connect(endpoint) as client:
        call = client.options(priority=priority).call
        for _ in range(calls):
            begun = time.perf_counter()
            call("nap")
            took.append(time.perf_counter() - begun)
    return sorted(took)[int(0.99 * calls)]


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--waiting", type=int, default=2_000)
    parser.add_argument("--calls", type=int, default=400)
    options = parser.parse_args()
    for backend in options.backend or BACKENDS:
        with server(backend, "--workers", str(options.workers)) as (_, endpoint):
            idle = p99(endpoint, options.calls, 0)
            with program("-c", LOW, endpoint, str(options.waiting)):
                high = p99(endpoint, options.calls, 10)
                low = p99(endpoint, 3, 0)
        print(
            f"{backend:10} p99 idle {idle * 1000:6.2f} ms, high priority {high * 1000:6.2f} ms: "
            f"{high / idle:.2f}x"
            f" (with the others' priority {low * 1000:,.0f} ms)",
            flush=True,
        )


if __name__ == "__main__":
    main()
