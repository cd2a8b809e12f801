"""Compares ringback with bare pyzmq and Pyro5 in one run.

    python benchmarks/echo.py [--backend NAME]... [--figure NAME]... [--rounds N] [--seconds S]
        [--before PYTHON]

Each round measures every figure once, in its own process and in random order, directly after its
baseline. A row gives the median rate and the median ratio to the baseline. `--before` is the
interpreter of an environment with another ringback, measured in the same run. Run nothing else on
the machine. The figures over Pyro5 need Pyro5.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
from contextlib import ExitStack
from typing import NamedTuple

from running import BACKENDS, HERE, bare_echo, options_of, program, server


class Figure(NamedTuple):
    kind: str  # a kind of `drive.py`
    yardstick: str
    what: str
    asked: str
    options: tuple[str, ...] = ()  # server options
    backends: tuple[str, ...] = BACKENDS


MANY = ("--workers", "64")
FIGURES = {
    "call-1": Figure(
        "call-1", "bare-1", "blocking client, one call in flight", "0.85 (twisted 0.75)"
    ),
    "threads-64": Figure(
        "threads-64", "bare-64", "64 threads of one blocking client; bare: a socket each", "0.65"
    ),
    "threads-64-pyro": Figure(
        "threads-64", "pyro-64", "the same, over Pyro5 with a connection each", "1.2"
    ),
    "nap-64-pyro": Figure(
        "nap-64", "pyro-nap-64", "the same, handlers that wait 10 ms, over Pyro5", "1", MANY
    ),
    "fire-1000": Figure(
        "fire-1000",
        "bare-1000",
        "blocking client's fire with callbacks, 1,000 in flight",
        "1.7 (asyncio 2.2)",
    ),
    "tasks-1000": Figure(
        "tasks-1000", "bare-1000", "asyncio client, 1,000 tasks awaiting calls", "1.5"
    ),
    "tasks-uvloop": Figure(
        "tasks-uvloop",
        "bare-1000",
        "the same, both ends on uvloop",
        "2",
        ("--uvloop",),
        ("asyncio",),
    ),
    "map-1000": Figure(
        "map-1000", "bare-1000", "map of an inline method, 1,000 calls a message", "8"
    ),
    "map-1000-pyro": Figure("map-1000", "pyro-batch", "the same, over Pyro5's explicit batch", "3"),
    "map-pooled": Figure(
        "map-pooled", "pooled-1000", "map of an unmarked def, over single fired calls", "5"
    ),
    "map-burns": Figure(
        "map-burns", "burns-1000", "the same, some 14 us of work a call", "2 (1.7 is the bound)"
    ),
    "pooled-1000": Figure(
        "pooled-1000", "bare-1000", "unmarked def in workers, fired, 1,000 in flight", "1"
    ),
}


def measure(python: str, kind: str, endpoint: str, seconds: float) -> float:
    command = [python, str(HERE / "drive.py"), kind, endpoint, str(seconds)]
    return float(
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    )


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--figure", action="append", choices=FIGURES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each measurement")
    parser.add_argument(
        "--before", metavar="PYTHON", help="interpreter of an environment with another ringback"
    )
    options = parser.parse_args()
    names = options.figure or list(FIGURES)
    pythons = {"": sys.executable} | ({"before": options.before} if options.before else {})
    yardsticks = {"bare": "tcp://127.0.0.1:5599"}
    rates: dict[tuple[str, str, str], list[float]] = {}
    ratios: dict[tuple[str, str, str], list[float]] = {}
    references: dict[str, list[float]] = {}
    with ExitStack() as running:
        running.enter_context(bare_echo(yardsticks["bare"]))
        if any(FIGURES[name].yardstick.startswith("pyro") for name in names):
            yardsticks["pyro"] = running.enter_context(program(str(HERE / "pyro.py")))[1].strip()
        cells = [
            (name, backend, arm)
            for name in names
            for backend in FIGURES[name].backends
            for arm in pythons
            if not options.backend or backend in options.backend
        ]
        for number in range(options.rounds):
            random.shuffle(cells)
            for cell in cells:
                name, backend, arm = cell
                figure, python = FIGURES[name], pythons[arm]
                kind = figure.yardstick
                with server(backend, *figure.options, python=python) as (_, endpoint):
                    # Kinds without a baseline server call this server.
                    where = yardsticks.get(kind.split("-")[0], endpoint)
                    reference = measure(sys.executable, kind, where, options.seconds)
                    rate = measure(python, figure.kind, endpoint, options.seconds)
                references.setdefault(kind, []).append(reference)
                rates.setdefault(cell, []).append(rate)
                ratios.setdefault(cell, []).append(rate / reference)
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    for kind, values in sorted(references.items()):
        print(f"{kind}: {statistics.median(values):,.0f} calls/s")
    for name in names:
        print(f"\n{FIGURES[name].what} (asked: {FIGURES[name].asked})")
        for _, backend, arm in sorted(cell for cell in rates if cell[0] == name):
            rate, ratio = rates[name, backend, arm], ratios[name, backend, arm]
            print(
                f"  {backend:10} {arm:6} {statistics.median(rate):>10,.0f} calls/s"
                f"   {statistics.median(ratio):.2f}x   ({min(ratio):.2f} .. {max(ratio):.2f})"
            )


if __name__ == "__main__":
    main()
