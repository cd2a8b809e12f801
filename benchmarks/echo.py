"""ringback beside a bare pyzmq echo, in one run: `python benchmarks/echo.py [--backend NAME]... [--rounds N] [--seconds S]`.

Each round measures every figure once, in a process of its own, in random order, with the bare echo right before it; a row gives the
median of the rates and of the ratios to that bare echo. Nothing else should run on the machine.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
from contextlib import ExitStack

from running import BACKENDS, HERE, bare_echo, options_of, server

FIGURES = {  # name: (yardstick, what it is, the ratio asked for)
    "call-1": ("bare-1", "blocking client, one call in flight", "0.8"),
    "fire-1000": ("bare-1000", "blocking client's fire with callbacks, 1,000 in flight", "2"),
    "tasks-1000": ("bare-1000", "asyncio client, 1,000 tasks awaiting calls", "2 (threading 1.5)"),
    "pooled-1000": ("bare-1000", "unmarked def in workers, fired, 1,000 in flight", "0.7"),
}


def measure(kind: str, endpoint: str, seconds: float) -> float:
    command = [sys.executable, str(HERE / "drive.py"), kind, endpoint, str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--figure", action="append", choices=FIGURES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each measurement takes")
    options = parser.parse_args()
    backends = options.backend or BACKENDS
    yardstick = "tcp://127.0.0.1:5599"
    endpoints = {}
    rates: dict[tuple[str, str], list[float]] = {}
    ratios: dict[tuple[str, str], list[float]] = {}
    bare: dict[str, list[float]] = {}
    with ExitStack() as running:
        running.enter_context(bare_echo(yardstick))
        for backend in backends:
            endpoints[backend] = running.enter_context(server(backend))[1]
        cells = [(figure, backend) for figure in options.figure or FIGURES for backend in backends]
        for number in range(options.rounds):
            random.shuffle(cells)
            for figure, backend in cells:
                reference = measure(FIGURES[figure][0], yardstick, options.seconds)
                rate = measure(figure, endpoints[backend], options.seconds)
                bare.setdefault(FIGURES[figure][0], []).append(reference)
                rates.setdefault((figure, backend), []).append(rate)
                ratios.setdefault((figure, backend), []).append(rate / reference)
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    for kind, values in sorted(bare.items()):
        print(f"{kind}: {statistics.median(values):,.0f} calls/s")
    for figure in options.figure or FIGURES:
        print(f"\n{FIGURES[figure][1]} (asked: {FIGURES[figure][2]}x)")
        for backend in backends:
            rate, ratio = rates[figure, backend], ratios[figure, backend]
            print(
                f"  {backend:10} {statistics.median(rate):>10,.0f} calls/s"
                f"   {statistics.median(ratio):.2f}x   ({min(ratio):.2f} .. {max(ratio):.2f})"
            )


if __name__ == "__main__":
    main()
