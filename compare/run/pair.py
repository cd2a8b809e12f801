"""A server and a load generator, both fresh, and one measurement after another between them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from ...clients.threading import connect
from ...errors import CallError
from ..load.plan import Cell, Idle, Load, Plan
from ..load.sample import Sample
from ..results import Memory
from ..workloads import numbers
from ..workloads.balances import Begun
from . import observe
from .observe import Observed, Snapshot
from .processes import START_SECONDS, Child, ChildFailed, pin

_READY = re.compile(rb"ringback: .* on (\S+) \(\S+\)|ready (\S+)")

# Of all measurements of this process: each has numbers for itself.
_measurements = itertools.count(1)


class Server(NamedTuple):
    """How a server is started: the words behind `python -m`, and the interpreter, where it is another than this one."""

    words: tuple[str, ...]
    python: str = ""


def backend(
    name: str,
    workers: int,
    service: str,
    *,
    limit: str = "",
    state: str = "",
    options: Sequence[str] = (),
    python: str = "",
) -> Server:
    """That of one of our backends."""
    words = ["ringback.server", service, "--backend", name, "--bind", "tcp://127.0.0.1:*"]
    words += ["--workers", str(workers)]
    words += ["--limit", limit] if limit else []
    words += ["--state", state] if state else []
    return Server((*words, *options), python)


def null() -> Server:
    """That which does nothing."""
    return Server(("ringback.compare.load.null",))


def peer(name: str, workers: int) -> Server:
    """That of another library."""
    return Server(("ringback.compare.peers", name, str(workers)))


class Placement(NamedTuple):
    """The processors of server and client; where empty, both have all."""

    server: tuple[int, ...] = ()
    client: tuple[int, ...] = ()

    @classmethod
    def halves(cls) -> Placement:
        """Half of the processors each, where there are two and they can be chosen."""
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


class Window(NamedTuple):
    """What came of one slice. Where one of several servers is slow, `begun` is what they began, the slow one last."""

    load: Load
    sample: Sample
    observed: Observed
    begun: Sequence[Begun] = ()


class Servers:
    """A server, and others that share its work where a load is for several, until the `with` is left. They start beside whatever else
    starts; `wait` until they have."""

    def __init__(self, server: Server, placement: Placement, others: Sequence[Server] = ()) -> None:
        self.children = [Child(*each.words, python=each.python) for each in (server, *others)]
        self.endpoints: list[str] = []
        self.pids: list[list[int]] = []  # of each, those of its processes
        self._processors = placement.server

    def wait(self) -> None:
        """Until they answer; from then on they have the processors of servers alone. Raises ChildFailed where one does not start."""
        self.endpoints = [_found(child) for child in self.children]
        self.pids = [[child.pid, *observe.descendants(child.pid)] for child in self.children]
        for pids in self.pids:
            for pid in pids:
                pin(pid, self._processors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:
            child.__exit__(kind, error, trace)


class Generator:
    """A load generator, until the `with` is left."""

    def __init__(self, plan: Plan, placement: Placement) -> None:
        self.plan = plan
        self.child = Child("ringback.compare.load.generate")
        self._processors = placement.client
        self._owed = (
            0.0  # seconds within which there is an answer that nobody has read; 0 where there is none
        )

    def wait(self) -> None:
        """Until it can make calls; from then on it has the processors of clients alone. Raises ChildFailed where it does not start."""
        self.child.say(msgspec.json.encode(self.plan))
        self.child.line(START_SECONDS)
        pin(self.child.pid, self._processors)

    def settle(self) -> None:
        """Let it end what it was asked for and nobody waited for: calls of a server that died, until their time is over. Raises ChildFailed
        where it does not."""
        if self._owed:
            self.child.line(self._owed + self.plan.timeout)
            self._owed = 0.0

    def begin(self, cell: Cell) -> None:
        """Have the cell measured."""
        self.child.say(msgspec.json.encode(cell))
        self._owed = cell.load.warmup + cell.load.window + self.plan.timeout + START_SECONDS

    def end(self, needs: Child) -> Sample:
        """What came of it. Raises ChildFailed where there is no answer in time, or where the server that it `needs` has ended."""
        line = self.child.line(self._owed, needs=needs)
        self._owed = 0.0
        return msgspec.json.decode(line, type=Sample)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.__exit__(kind, error, trace)


class Pair:
    """Servers and a load generator that calls them, perhaps among others."""

    def __init__(self, servers: Servers, generator: Generator, placement: Placement) -> None:
        self.servers = servers
        self._generator = generator
        self._placement = placement
        self._begun: tuple[Cell, list[int], Snapshot]

    @property
    def server(self) -> Child:
        """The first of the servers."""
        return self.servers.children[0]

    @property
    def generator(self) -> Child:
        """The load generator."""
        return self._generator.child

    @property
    def endpoint(self) -> str:
        """That of the first of the servers."""
        return self.servers.endpoints[0]

    def measure(self, load: Load) -> Window:
        """One slice, from the first call to the last reply. Raises ChildFailed where either process did not survive it, or did not end it
        in time."""
        self.begin(load)
        return self.end()

    def begin(self, load: Load) -> None:
        """Begin a slice. Raises ChildFailed where either process is not there."""
        pids = [pid for each in load.taking(self.servers.pids) for pid in each]
        cell = Cell(load, tuple(load.taking(self.servers.endpoints)), next(_measurements) * numbers.EACH)
        try:
            self._generator.settle()
            self._begun = cell, pids, observe.snapshot(pids, self.generator.pid)
            self._generator.begin(cell)
        except (ChildFailed, OSError) as error:
            raise ChildFailed(self._why(error)) from None

    def end(self) -> Window:
        """The slice that was begun, once it has ended. Raises ChildFailed as `measure` does."""
        cell, pids, before = self._begun
        load = cell.load
        try:
            sample = self._generator.end(self.server)
            after = observe.snapshot(pids, self.generator.pid)
            memory = Memory(sum(map(observe.resident, pids)), observe.resident(self.generator.pid))
        except (ChildFailed, OSError) as error:
            raise ChildFailed(self._why(error)) from None
        if end := _end(load.taking(self.servers.children)):
            raise ChildFailed(f"its server {end}")
        seen = observe.observed(
            before,
            after,
            sample.answered,
            sample.seconds,
            memory,
            self._processors(),
            servers=sum(max(1, len(each) - 1) for each in load.taking(self.servers.pids)),
        )
        if not load.slow:
            return Window(load, sample, seen)
        try:
            begun = [_begun(each, cell, sample) for each in cell.endpoints]
        except CallError as error:
            raise ChildFailed(f"a server does not tell what it began: {error}") from None
        return Window(load, sample, seen, begun)

    def measure_beside(self, connections: int, load: Load) -> Window:
        """The same with so many connections more, all idle, and what each of them takes of the server's memory."""
        try:
            self._generator.settle()
            before = observe.resident(self.server.pid)
            self._idle(connections)
            memory = (observe.resident(self.server.pid) - before) / connections
            window = self.measure(load)
            self._idle(0)
        except OSError as error:
            raise ChildFailed(self._why(error)) from None
        seen = window.observed
        return window._replace(
            observed=seen._replace(memory=Memory(seen.memory.server, seen.memory.client, memory))
        )

    def _idle(self, connections: int) -> None:
        self.generator.say(msgspec.json.encode(Idle(connections, self.endpoint)))
        self.generator.line(START_SECONDS)

    def _processors(self) -> Sequence[int]:
        everyone = len(observe.processors())
        return len(self._placement.server) or everyone, len(self._placement.client) or everyone

    def _why(self, error: Exception) -> str:
        if end := _end(self.servers.children):
            return f"its server {end}"
        if end := self.generator.end():
            return f"its client {end}"
        return f"its client gave {error}"


class Alone(Pair):
    """Servers and a load generator for themselves, until the `with` is left. Raises ChildFailed where a process does not start."""

    def __init__(
        self, server: Server, plan: Plan, placement: Placement, *, others: Sequence[Server] = ()
    ) -> None:
        with ExitStack() as started:
            servers = started.enter_context(Servers(server, placement, others))
            generator = started.enter_context(Generator(plan, placement))
            servers.wait()
            generator.wait()
            self._running = started.pop_all()
        super().__init__(servers, generator, placement)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()


def _found(server: Child) -> str:
    """Its endpoint."""
    try:
        line = server.line(START_SECONDS)
    except ChildFailed as error:
        raise ChildFailed(f"its server {error}") from None
    ready = _READY.fullmatch(line)
    if ready is None:
        raise ChildFailed(f"its server printed {line.decode(errors='replace')!r} in place of its endpoint")
    return (ready[1] or ready[2]).decode()


def _begun(endpoint: str, cell: Cell, sample: Sample) -> Begun:
    closes = sample.opened + cell.load.window
    with connect(endpoint, timeout=START_SECONDS) as client:
        return Begun(*client.call("begun", cell.first, sample.opened, closes))


def _end(servers: Sequence[Child]) -> str | None:
    """How the first of them ended that did; None while all run."""
    return next((end for server in servers if (end := server.end())), None)
