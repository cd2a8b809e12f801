"""A server and a load generator, both fresh, and one measurement after another between them."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Sequence
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
from .observe import Observed
from .processes import START_SECONDS, Child, ChildFailed

_READY = re.compile(rb"ringback: .* on (\S+) \(\S+\)|ready (\S+)")

# Seconds between the moment at which the parent decides on a measurement and that at which the generator begins it.
_AHEAD = 0.004

# Of all measurements of this process: each has numbers for itself.
_measurements = itertools.count(1)

Server = tuple[str, ...]


def backend(name: str, workers: int, service: str, limit: str = "", state: str = "") -> Server:
    """How the server of one of our backends is started."""
    return (
        "ringback.server",
        service,
        "--backend",
        name,
        "--bind",
        "tcp://127.0.0.1:*",
        "--workers",
        str(workers),
        *(("--limit", limit) if limit else ()),
        *(("--state", state) if state else ()),
    )


def null() -> Server:
    """How the server that does nothing is started."""
    return ("ringback.compare.load.null",)


def peer(name: str, workers: int) -> Server:
    """How the server of another library is started."""
    return ("ringback.compare.peers", name, str(workers))


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
    """What came of one measurement; `opened` is on the clock of `time.monotonic`. Where one of several servers is slow, `begun` is what
    they began, the slow one last."""

    load: Load
    opened: float
    sample: Sample
    observed: Observed
    begun: Sequence[Begun] = ()


class Pair:
    """Both processes, until the `with` is left; `disk` is whether the server writes to one. `others` share its work where a load is for
    several servers. Raises ChildFailed where a process does not start."""

    def __init__(
        self,
        server: Server,
        plan: Callable[[str], Plan],
        placement: Placement,
        *,
        disk: bool = False,
        others: Sequence[Server] = (),
    ) -> None:
        self._placement = placement
        self._disk = disk
        self._timeout = 0.0
        self.server = Child(*server, processors=placement.server)
        self._others = [Child(*other, processors=placement.server) for other in others]
        self.generator = Child("ringback.compare.load.generate", processors=placement.client)
        try:
            self.endpoint = _found(self.server)
            self._endpoints = [_found(other) for other in self._others]
            made = plan(self.endpoint)
            if others:
                made = msgspec.structs.replace(made, others=tuple(self._endpoints))
            self._timeout = made.timeout
            self.generator.say(msgspec.json.encode(made))
            self.generator.line(START_SECONDS)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def measure(self, load: Load) -> Window:
        """One window. Raises ChildFailed where either process did not survive it, or did not end it in time."""
        opens = time.monotonic() + _AHEAD + load.warmup
        closes = opens + load.window
        servers = load.taking(self.server, self._others)
        pids = [server.pid for server in servers]
        first = next(_measurements) * numbers.EACH
        try:
            cell = Cell(load, opens, closes, first)
            self.generator.say(msgspec.json.encode(cell))
            _sleep_until(opens)
            before = observe.snapshot(pids, self.generator.pid)
            _sleep_until(closes)
            after = observe.snapshot(pids, self.generator.pid)
            memory = Memory(sum(map(observe.resident, pids)), observe.resident(self.generator.pid))
            line = self.generator.line(self._timeout + START_SECONDS, needs=self.server)
        except (ChildFailed, OSError) as error:
            raise ChildFailed(self._why(error)) from None
        sample = msgspec.json.decode(line, type=Sample)
        if end := _end(servers):
            raise ChildFailed(f"its server {end}")
        seen = observe.observed(
            before, after, sample.calls, memory, self._processors(), disk=self._disk, servers=len(servers)
        )
        if not load.slow:
            return Window(load, opens, sample, seen)
        try:
            begun = [_begun(each, cell) for each in load.taking(self.endpoint, self._endpoints)]
        except CallError as error:
            raise ChildFailed(f"a server does not tell what it began: {error}") from None
        return Window(load, opens, sample, seen, begun)

    def measure_beside(self, connections: int, load: Load) -> Window:
        """The same with so many connections more, all idle, and what each of them takes of the server's memory."""
        try:
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
        self.generator.say(msgspec.json.encode(Idle(connections)))
        self.generator.line(START_SECONDS)

    def _processors(self) -> Sequence[int]:
        everyone = len(observe.processors())
        return len(self._placement.server) or everyone, len(self._placement.client) or everyone, everyone

    def _why(self, error: Exception) -> str:
        if end := _end([self.server, *self._others]):
            return f"its server {end}"
        if end := self.generator.end():
            return f"its client {end}"
        return f"its client gave {error}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in (self.generator, self.server, *self._others):
            child.__exit__(kind, error, trace)


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


def _begun(endpoint: str, cell: Cell) -> Begun:
    with connect(endpoint, timeout=START_SECONDS) as client:
        return Begun(*client.call("begun", cell.first, cell.opens, cell.closes))


def _end(servers: Sequence[Child]) -> str | None:
    """How the first of them ended that did; None while all run."""
    return next((end for server in servers if (end := server.end())), None)


def _sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.monotonic()))
