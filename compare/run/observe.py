"""CPU time and memory of servers and clients, read from the parent; and the speed of processors.

The measured processes do no work for it. On Linux the parent reads the CPU clock of another
process, which takes a microsecond; elsewhere it uses psutil.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psutil

from ..results import Cpu, Limit, Speed

LINUX = sys.platform == "linux"

# Fractions of its processors' time: an end that uses at least _BUSY is busy, one below _FREE is
# free.
_BUSY = 0.90
_FREE = 0.85

# Steps of a probe of a processor's speed: about 0.2 ms.
_STEPS = 3_000
# Fraction of the probes that are slower than the reported slowest speed.
_SLOWEST = 0.05


class ProcessSnapshot(NamedTuple):
    """The start or end of a slice: the time, and the CPU time of server and client, in seconds."""

    at: float
    server: float
    client: float


def snapshot(servers: Sequence[int], client: int) -> ProcessSnapshot:
    """A snapshot of these process ids, taken now; `servers` are all processes of one server.

    Raises ProcessLookupError if one of them has ended.
    """
    return ProcessSnapshot(time.monotonic(), sum(map(_cpu, servers)), _cpu(client))


def _cpu(pid: int) -> float:
    if LINUX:
        try:
            # The clock id of another process, with CPUCLOCK_SCHED in its lowest bits: see the
            # kernel's posix-timers.h.
            return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
        except OSError:
            raise ProcessLookupError(pid) from None
    with _process(pid) as process:
        used = process.cpu_times()
    return float(used.user + used.system)


@contextmanager
def _process(pid: int) -> Iterator[psutil.Process]:
    """Raises ProcessLookupError if it has ended."""
    try:
        yield psutil.Process(pid)
    except psutil.NoSuchProcess:
        raise ProcessLookupError(pid) from None


def cost(
    before: ProcessSnapshot, after: ProcessSnapshot, calls: int, seconds: float, processors: int = 1
) -> Cpu:
    """CPU use between two snapshots, for `calls` that took `seconds`.

    `processors` is how many the server can use: one for each of its processes, as Python runs on
    one. The client has one process.
    """
    many = calls or 1
    server, client = after.server - before.server, after.client - before.client
    return Cpu(
        server / many,
        client / many,
        round(min(1.0, server / seconds / processors), 4),
        round(min(1.0, client / seconds), 4),
    )


def limit_of(server: float, client: float) -> Limit:
    """The limit of a slice, by the fractions of the time that each end was busy: that end,
    "waiting" if both were free, "both" otherwise."""
    if server >= _BUSY and client < _FREE:
        return "server"
    if client >= _BUSY and server < _FREE:
        return "client"
    return "waiting" if server < _FREE and client < _FREE else "both"


def resident(pid: int) -> int:
    """Resident memory of the process in bytes. Raises ProcessLookupError if it has ended."""
    with _process(pid) as process:
        return int(process.memory_info().rss)


def descendants(pid: int) -> list[int]:
    """Its child processes, and theirs."""
    with _process(pid) as process:
        return [child.pid for child in process.children(recursive=True)]


def processors() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class Speeds:
    """Probes the speed of processors with a fixed amount of work."""

    def __init__(self) -> None:
        self._probes: dict[int, list[float]] = {}

    def probe(self) -> None:
        """Probe each processor that this process may use, in turn."""
        ours = processors()
        for number in ours:
            if LINUX:
                os.sched_setaffinity(0, [number])
            self._probes.setdefault(number, []).append(_work())
        if LINUX:
            os.sched_setaffinity(0, ours)

    def found(self) -> Speed | None:
        """The speed of all processors together; None after too few probes."""
        probes = sorted(seconds for each in self._probes.values() for seconds in each)
        if len(probes) < 1 / _SLOWEST:
            return None
        best = probes[0]
        return Speed(
            best / probes[int(len(probes) * (1 - _SLOWEST))], best / probes[len(probes) // 2]
        )


def _work() -> float:
    """Seconds of CPU time that one probe takes."""
    began, x = time.thread_time(), 1
    for _ in range(_STEPS):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return time.thread_time() - began
