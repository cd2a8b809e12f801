"""A fresh server and a fresh load generator, and the slices measured between them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from ..load.plan import LoadPlan, OfferedLoad, SlicePlan
from ..load.sample import Sample
from ..results import Cpu, Memory
from ..workloads import numbers
from . import observe
from .observe import ProcessSnapshot
from .processes import START_SECONDS, Child, ChildFailed, pin

_READY = re.compile(rb"ringback: .* on (\S+) \(\S+\)|ready (\S+)")

# Numbers the measurements of this process: each has its own range of numbers for scripts.
_measurements = itertools.count(1)


class ServerCommand(NamedTuple):
    """The words after `python -m` that start a server, and the interpreter, if not this one.

    `transport` is the transport of its clients; empty for the default.
    """

    words: tuple[str, ...]
    python: str = ""
    transport: str = ""


def backend(
    name: str,
    workers: int,
    service: str,
    *,
    options: Sequence[str] = (),
    python: str = "",
    transport: str = "",
) -> ServerCommand:
    words = ("ringback.server", service, "--backend", name, "--bind", "tcp://127.0.0.1:*")
    chosen = ("--transport", transport) if transport else ()
    return ServerCommand((*words, "--workers", str(workers), *chosen, *options), python, transport)


def null() -> ServerCommand:
    """The server that does nothing: `load/null.py`."""
    return ServerCommand(("ringback.compare.load.null",))


def peer(name: str, workers: int) -> ServerCommand:
    return ServerCommand(("ringback.compare.peers", name, str(workers)))


class Placement(NamedTuple):
    """The processors of server and client; if empty, both use all."""

    server: tuple[int, ...] = ()
    client: tuple[int, ...] = ()

    @classmethod
    def halves(cls) -> Placement:
        """Half of the processors each, if there are at least two and the system is Linux."""
        ours = observe.processors()
        if len(ours) < 2 or not observe.LINUX:
            return cls()
        middle = len(ours) // 2
        return cls(tuple(ours[:middle]), tuple(ours[middle:]))

    def __str__(self) -> str:
        if not self.server:
            return ""
        server, client = (",".join(map(str, each)) for each in self)
        return f"server on CPU {server}, client on CPU {client}"


ANYWHERE = Placement()


class Slice(NamedTuple):
    """The result of one slice."""

    load: OfferedLoad
    sample: Sample
    cpu: Cpu
    memory: Memory


class Serving(Child):
    """A server process, until the `with` block ends. It starts in the background; `wait` for it."""

    def __init__(self, server: ServerCommand, placement: Placement) -> None:
        super().__init__(*server.words, python=server.python)
        self.endpoint = ""
        self.transport = server.transport
        self.pids: list[int] = []  # all its processes
        self._placement = placement

    def wait(self) -> None:
        """Wait until it serves, then pin it to the servers' processors. Raises ChildFailed if it
        does not start."""
        try:
            line = self.line(START_SECONDS)
        except ChildFailed as error:
            raise ChildFailed(f"its server {error}") from None
        ready = _READY.fullmatch(line)
        if ready is None:
            raise ChildFailed(
                f"its server printed {line.decode(errors='replace')!r} instead of its endpoint"
            )
        self.endpoint = (ready[1] or ready[2]).decode()
        self.pids = [self.pid, *observe.descendants(self.pid)]
        for pid in self.pids:
            pin(pid, self._placement.server)

    @property
    def processors(self) -> int:
        """Processors that it can use: one for each serving process, at most those it is pinned
        to."""
        return min(
            len(self._placement.server) or len(observe.processors()),
            max(1, len(self.pids) - 1),
        )


class Generator(Child):
    """A load generator process, until the `with` block ends."""

    def __init__(self, plan: LoadPlan, placement: Placement) -> None:
        super().__init__("ringback.compare.load.generate")
        self.plan = plan
        self._processors = placement.client
        self._owed = 0.0  # seconds within which an unread answer will come; 0 if there is none

    def wait(self) -> None:
        """Wait until it can make calls, then pin it to the clients' processors. Raises ChildFailed
        if it does not start."""
        self.say(msgspec.json.encode(self.plan))
        self.line(START_SECONDS)
        pin(self.pid, self._processors)

    def settle(self) -> None:
        """Wait for a measurement that the parent gave up: its calls to a dead server end with their
        timeout. Raises ChildFailed if it does not finish."""
        if self._owed:
            self.line(self._owed + self.plan.timeout)
            self._owed = 0.0

    def ask(self, cell: SlicePlan) -> None:
        self.say(msgspec.json.encode(cell))
        self._owed = cell.load.warmup + cell.load.window + self.plan.timeout + START_SECONDS

    def answer(self, needs: Child) -> Sample:
        """The sample of the cell. Raises ChildFailed if none comes in time, or the server that it
        `needs` has ended."""
        line = self.line(self._owed, needs=needs)
        self._owed = 0.0
        return msgspec.json.decode(line, type=Sample)


class Pair:
    """A server and a load generator that calls it, perhaps besides other servers."""

    def __init__(self, server: Serving, generator: Generator) -> None:
        self.server = server
        self.generator = generator
        self._begun: tuple[OfferedLoad, ProcessSnapshot]

    def measure(self, load: OfferedLoad) -> Slice:
        """Measure one slice, from the first call to the last reply. Raises ChildFailed if either
        process ends, or does not finish in time."""
        self.begin(load)
        return self.end()

    def begin(self, load: OfferedLoad) -> None:
        """Begin a slice. Raises ChildFailed if either process has ended."""
        first = next(_measurements) * numbers.EACH
        cell = SlicePlan(load, self.server.endpoint, first, self.server.transport)
        with self._explained():
            self.generator.settle()
            before = self._snapshot()
            self.generator.ask(cell)
        self._begun = load, before

    def end(self) -> Slice:
        """Wait for the end of the slice that was begun. Raises ChildFailed as `measure` does."""
        load, before = self._begun
        with self._explained():
            sample = self.generator.answer(self.server)
            after = self._snapshot()
            memory = Memory(
                sum(map(observe.resident, self.server.pids)), observe.resident(self.generator.pid)
            )
        if end := self.server.end():
            raise ChildFailed(f"its server {end}")
        cpu = observe.cost(before, after, sample.answered, sample.seconds, self.server.processors)
        return Slice(load, sample, cpu, memory)

    def _snapshot(self) -> ProcessSnapshot:
        return observe.snapshot(self.server.pids, self.generator.pid)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raises ChildFailed, which names the process that failed, and how."""
        try:
            yield
        except (ChildFailed, OSError) as error:
            if end := self.server.end():
                raise ChildFailed(f"its server {end}") from None
            raise ChildFailed(f"its client {self.generator.end() or f'failed: {error}'}") from None


@contextmanager
def alone(server: ServerCommand, plan: LoadPlan, placement: Placement) -> Iterator[Pair]:
    """A pair of their own. Raises ChildFailed if a process does not start."""
    with Serving(server, placement) as serving, Generator(plan, placement) as generator:
        serving.wait()
        generator.wait()
        yield Pair(serving, generator)
