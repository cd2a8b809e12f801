"""Overhead of the load generator of `ringback compare`.

    python benchmarks/crosscheck.py [--backend NAME]... [--units N]

The same calls to the same server are made in three ways: by the generator, by a plain loop over the
client's API that checks only the replies, and by the protocol without a client (`--client raw`).
They alternate, each unit mirrored, on other processors than the server's. A row has the median
calls/s of the generator, and for the two others the median ratio to it, with its 95 % confidence
interval (by order statistics).
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import threading
import time
from contextlib import ExitStack
from typing import NamedTuple

import ringback
from ringback.compare.load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, LoadPlan, OfferedLoad
from ringback.compare.run.measured import speed
from ringback.compare.run.pair import Generator, Pair, Placement, Serving, backend
from ringback.compare.run.processes import Child, pin
from ringback.compare.run.request import SERVICE
from ringback.compare.workloads.handlers import after, steps_of_cpu
from running import HERE, options_of


class Cell(NamedTuple):
    workload: str
    style: str
    callers: int
    seconds: float


CELLS = (
    Cell("lone", REQUEST_REPLY, 1, 0.1),
    Cell("echo", REQUEST_REPLY, 8, 0.1),
    Cell("echo", REQUEST_REPLY, 64, 0.1),
    Cell("echo", FIRE_AND_CALLBACK, 8, 0.05),
    Cell("echo", FIRE_AND_CALLBACK, 64, 0.05),
    Cell("cpu", FIRE_AND_CALLBACK, 8, 0.1),
    Cell("io", FIRE_AND_CALLBACK, 64, 0.1),
)


class Plain:
    """A plain loop over the client's API."""

    def __init__(self, endpoint: str, steps: int) -> None:
        self.client = ringback.connect(endpoint, timeout=10.0, max_in_flight=20_000)
        self.steps = steps
        self.number = random.randrange(1 << 40)

    def call(self, workload: str) -> tuple[str, tuple[object, ...], object]:
        """A method, its arguments, and the expected reply."""
        self.number += 1
        if workload == "cpu":
            start = self.number & 0x7FFFFFFF
            return "cpu", (start, self.steps), after(start, self.steps)
        value = self.number.to_bytes(32, "big")
        return "io" if workload == "io" else "echo", (value,), value

    def speed(self, cell: Cell) -> float:
        """Calls per second, from the first call to the last reply."""
        done = self.waiting(cell) if cell.style == REQUEST_REPLY else self.firing(cell)
        return done[0] / done[1]

    def waiting(self, cell: Cell) -> tuple[int, float]:
        calls: list[int] = []

        def work() -> None:
            made = 0
            while time.monotonic() < closes:
                method, args, answer = self.call(cell.workload)
                assert self.client.call(method, *args) == answer
                made += 1
            calls.append(made)

        threads = [threading.Thread(target=work) for _ in range(cell.callers)]
        opens = time.monotonic()
        closes = opens + cell.seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(calls), time.monotonic() - opens

    def firing(self, cell: Cell) -> tuple[int, float]:
        over = threading.Event()
        made, left = 0, cell.callers
        opens = time.monotonic()
        closes = opens + cell.seconds

        def again() -> None:
            nonlocal left
            if time.monotonic() >= closes:
                left -= 1
                if not left:
                    over.set()
                return
            method, args, answer = self.call(cell.workload)

            def replied(result: object) -> None:
                nonlocal made
                assert result == answer
                made += 1
                again()

            self.client.fire(method, *args, callback=replied)

        for _ in range(cell.callers):
            again()
        assert over.wait(30.0)
        return made, time.monotonic() - opens


def plain() -> None:
    """The child process: reads an endpoint and the steps of `cpu`, then one cell per line."""
    endpoint, steps = sys.stdin.readline().split()
    loop = Plain(endpoint, int(steps))
    print("ready", flush=True)
    for line in sys.stdin:
        workload, style, callers, seconds = line.split()
        print(loop.speed(Cell(workload, style, int(callers), float(seconds))), flush=True)


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--units", type=int, default=20)
    options = parser.parse_args()
    os.chdir(HERE)  # where the child finds this file
    steps, placement = steps_of_cpu(), Placement.halves()
    for name in options.backend or ["asyncio"]:
        print(
            f"{name}: calls/s of the generator; of a plain loop and of the protocol itself, to that"
        )
        with ExitStack() as running:
            serving = running.enter_context(Serving(backend(name, 64, SERVICE), placement))
            pairs = {}
            for client in ("threading", "raw"):
                plan = LoadPlan(client=client, cpu_steps=steps, timeout=10.0, max_callers=64)
                generator = running.enter_context(Generator(plan, placement))
                generator.wait()
                pairs[client] = Pair(serving, generator)
            serving.wait()
            loop = running.enter_context(Child("crosscheck", "--plain"))
            loop.say(f"{serving.endpoint} {steps}".encode())
            loop.line(10.0)
            pin(loop.pid, placement.client)
            for cell in CELLS:
                row(cell, pairs, loop, options.units)


def row(cell: Cell, pairs: dict[str, Pair], loop: Child, units: int) -> None:
    load = OfferedLoad(cell.workload, cell.style, cell.callers, 0.0, cell.seconds)
    if cell.style == FIRE_AND_CALLBACK and cell.workload == "echo":
        load = load._replace(stride=16)  # as in a comparison
    found: dict[str, list[float]] = {"threading": [], "plain": [], "raw": []}
    for _ in range(units + 1):
        order = random.sample(sorted(found), 3)
        for who in order + order[::-1]:
            if who == "plain":
                loop.say(" ".join(map(str, cell)).encode())
                found[who].append(float(loop.line(30.0)))
            else:
                found[who].append(speed(pairs[who].measure(load)))
    # The first unit is a warm-up.
    tool, *others = (found[who][2:] for who in ("threading", "plain", "raw"))
    told = []
    for other in others:
        ratios = sorted(one / base for one, base in zip(other, tool, strict=True))
        cut = len(ratios) * 3 // 10
        told.append(f"{statistics.median(ratios):.2f} ({ratios[cut]:.2f}..{ratios[-1 - cut]:.2f})")
    name = f"{cell.workload:5} {cell.style:18} {cell.callers:3}"
    print(f"  {name}  {statistics.median(tool):10,.0f}  {told[0]:20} {told[1]}", flush=True)


if __name__ == "__main__":
    plain() if "--plain" in sys.argv else main()
