"""The parent: a server process for each backend, a generator process for each client style on it, one server under load at a time.

What is measured is added to the report as it comes, so that an interrupted run keeps it.
"""

from __future__ import annotations

import random
import re
from importlib.util import find_spec
from itertools import product
from typing import NamedTuple, Protocol

import msgspec

from ..clients.threading import connect
from ..errors import CallError, UsageError
from .environment import environment
from .plan import Cell, Plan
from .processes import START_SECONDS, Child, ChildFailed
from .results import Report, Result
from .workloads import steps_of_cpu

_READY = re.compile(r"ringback: compare on (\S+) \(\S+\)")

# Seconds that the first cell of a generator warms up longer: it connects, and all of the client's and the server's code is new to it.
_FIRST_WARMUP = 0.35

# Backends and client styles that need a library which ringback itself does not.
_LIBRARIES = ("gevent", "twisted")


class Request(NamedTuple):
    """What is to be measured; every list is complete and without doubles."""

    backends: list[str]
    clients: list[str]
    styles: list[str]
    workloads: list[str]
    concurrency: int
    quick: bool
    seed: int

    @property
    def seconds(self) -> tuple[float, float]:
        """Warm-up and window of a cell."""
        return (0.15, 0.6) if self.quick else (0.5, 3.0)

    @property
    def cells(self) -> list[Cell]:
        """What is measured with one client on one backend."""
        warmup, window = self.seconds
        return [
            Cell(workload, style, self.concurrency, warmup if number else warmup + _FIRST_WARMUP, window)
            for number, (workload, style) in enumerate(product(self.workloads, self.styles))
        ]


class Watcher(Protocol):
    """Is told how far the run is."""

    def begin(self, what: str) -> None:
        """This is being done now."""

    def done(self, cells: int) -> None:
        """So many cells more are behind us, measured or given up."""


def missing(name: str) -> bool:
    """Whether a backend or client style of ours lacks its library."""
    return name in _LIBRARIES and find_spec(name) is None


def require(kind: str, name: str) -> None:
    """Raises UsageError that names the extra, where the library is not installed."""
    if missing(name):
        raise UsageError(f"the {name} {kind} needs {name}: install it with pip install 'ringback[{name}]'")


def start(request: Request) -> Report:
    """A report without results, before anything runs that could disturb what it says of the machine."""
    warmup, window = request.seconds
    return Report(
        environment=environment(
            seed=request.seed, quick=request.quick, warmup=warmup, window=window, cpu_steps=steps_of_cpu()
        )
    )


def run(request: Request, report: Report, watcher: Watcher) -> None:
    """Measure everything into the report; a backend that cannot be measured is one of its failures, and the others go on."""
    order = list(request.backends)
    random.Random(request.seed).shuffle(order)  # noqa: S311
    for backend in order:
        _run_backend(request, report, watcher, backend)
    report.complete = not report.failures


def _run_backend(request: Request, report: Report, watcher: Watcher, backend: str) -> None:
    watcher.begin(f"{backend}: starting its server")
    workers = request.concurrency
    target = f"{__package__}.workloads:service"
    words = (
        "ringback.server",
        target,
        "--backend",
        backend,
        "--bind",
        "tcp://127.0.0.1:*",
        "--workers",
        str(workers),
    )
    with Child(*words) as server:
        try:
            endpoint = _endpoint(server)
            if backend == "twisted":
                with connect(endpoint, timeout=START_SECONDS) as client:
                    report.environment.twisted_reactor = client.call("reactor")
        except (ChildFailed, CallError) as error:
            report.failures.append(f"{backend} failed to start: {error}")
            watcher.done(len(request.clients) * len(request.cells))
            return
        for number, client_style in enumerate(request.clients, 1):
            plan = Plan(
                backend=backend,
                workers=workers,
                client=client_style,
                endpoint=endpoint,
                cells=request.cells,
                cpu_steps=report.environment.cpu_steps,
                # A call waits for all that are before it: 10 ms for each is far above what any of them takes.
                timeout=10.0 + request.concurrency * 0.01,
            )
            _run_generator(plan, server, report, watcher)
            end = server.end()
            if end is not None:
                report.failures.append(f"the server on {backend} {end}")
                watcher.done((len(request.clients) - number) * len(plan.cells))
                return


def _endpoint(server: Child) -> str:
    line = server.line(START_SECONDS)
    ready = _READY.fullmatch(line)
    if ready is None:
        raise ChildFailed(f"it printed {line!r} in place of its endpoint")
    return ready[1]


def _run_generator(plan: Plan, server: Child, report: Report, watcher: Watcher) -> None:
    """Measure the plan's cells, or those that come before an end of the generator or the server."""
    left = len(plan.cells)
    with Child(f"{__package__}.generate", given=msgspec.json.encode(plan)) as generator:
        for cell in plan.cells:
            watcher.begin(f"{plan.backend}, {plan.client} client: {cell.workload} {cell.style}")
            try:
                line = generator.line(START_SECONDS + plan.patience(cell))
            except ChildFailed as error:
                report.failures.append(
                    f"{plan.backend} with the {plan.client} client failed in {cell.workload} {cell.style}: {error}"
                )
                watcher.done(left)
                return
            report.results.append(msgspec.json.decode(line, type=Result))
            watcher.done(1)
            left -= 1
            if server.end() is not None:  # the other cells would each wait for it as long as a call may take
                watcher.done(left)
                return
