"""Fairness: latency of fifty clients with one call each beside a client with 10,000 calls in
flight.

The baseline is an idle server.

    python benchmarks/fairness.py [--backend NAME]... [--method echo|pooled] [--greedy N]
"""

from __future__ import annotations

import statistics
import threading
import time

import ringback
from running import BACKENDS, options_of, program, server

FIFTY = 50
SECONDS = 4.0

# `fire` waits at the limit of calls in flight, so the client stays at that limit. It runs at a
# lower priority (nice), so that the server's scheduling is measured and not the kernel's.
GREEDY = """
import os, sys, time
import ringback
os.nice(10)
endpoint, method, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
with ringback.connect(endpoint, max_in_flight=count, timeout=None) as client:
    done = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        client.fire(method, "x")
        done += 1
        if done == count:
            print("begun", flush=True)
print(done)
"""


def polite(endpoint: str, method: str, seconds: float) -> float:
    """Median latency in seconds of fifty clients, each with one call at a time and then a pause."""
    took: list[float] = []

    def work() -> None:
        with ringback.connect(endpoint) as client:
            client.call(method, "x")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                begun = time.perf_counter()
                client.call(method, "x")
                took.append(time.perf_counter() - begun)
                time.sleep(0.1)

    threads = [threading.Thread(target=work) for _ in range(FIFTY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.median(took)


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--method", action="append", choices=("echo", "pooled"))
    parser.add_argument("--greedy", type=int, default=10_000)
    options = parser.parse_args()
    for backend in options.backend or BACKENDS:
        for method in options.method or ("echo", "pooled"):
            with server(backend) as (_, endpoint):
                idle = polite(endpoint, method, SECONDS)
                words = [endpoint, method, str(options.greedy), str(SECONDS + 2)]
                with program("-c", GREEDY, *words) as (greedy, _):
                    busy = polite(endpoint, method, SECONDS)
                    done = int(greedy.communicate()[0])
            print(
                f"{backend:10} {method:7} idle {idle * 1000:6.2f} ms, beside the greedy one "
                f"{busy * 1000:6.2f} ms:"
                f" {busy / idle:.1f}x ({done:,} calls of the greedy one)",
                flush=True,
            )


if __name__ == "__main__":
    main()
