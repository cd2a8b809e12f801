"""Two server processes against one on CPU-bound work: calls per second on each backend,
alternating.

    python benchmarks/processes.py [--backend NAME]... [--rounds N] [--milliseconds MS]
"""

from __future__ import annotations

import statistics
import threading
import time

import ringback
from running import BACKENDS, options_of, server

# The kernel assigns connections to processes at random. With this many, each process gets some.
CALLERS = 16
SECONDS = 3.0


def steps_of(seconds: float) -> int:
    """The number of `burn` steps that take that many seconds on this machine."""
    from service import burn

    steps, begun = 100_000, time.process_time()
    burn(steps)
    return int(steps * seconds / (time.process_time() - begun))


def rate(endpoint: str, steps: int) -> float:
    """Calls per second of CALLERS clients, each with one call in flight."""
    counts = [0] * CALLERS
    begin = threading.Barrier(CALLERS + 1)

    def work(number: int) -> None:
        with ringback.connect(endpoint) as client:
            client.call("burn", 1)
            begin.wait()
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                client.call("burn", steps)
                counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    begin.wait()
    begun = time.monotonic()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - begun)


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--milliseconds", type=float, default=10.0)
    options = parser.parse_args()
    steps = steps_of(options.milliseconds / 1000)
    for backend in options.backend or BACKENDS:
        with (
            server(backend, "--processes", "1") as (_, one),
            server(backend, "--processes", "2") as (_, two),
        ):
            rates = [(rate(one, steps), rate(two, steps)) for _ in range(options.rounds)]
        ratios = sorted(two / one for one, two in rates)
        print(
            f"{backend:10} one process {statistics.median(one for one, _ in rates):6.1f} calls/s,"
            f" two {statistics.median(two for _, two in rates):6.1f}:"
            f" {statistics.median(ratios):.2f}x ({ratios[0]:.2f} .. {ratios[-1]:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
