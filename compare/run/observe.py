"""What the two ends of a slice cost, read from outside, so that what is measured does nothing for it; and how fast processors are.

On Linux by the clock of another process's CPU time, which is read in a microsecond; elsewhere by psutil.
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

# An end is busy that could have used little more of its processors; one that is free could have used a good part more.
_BUSY = 0.90
_FREE = 0.85

# The steps of a look at how fast a processor is: about 0.2 ms.
_STEPS = 3_000
# The part of all looks that is slower than what is told of the slowest.
_SLOWEST = 0.05


class ProcessSnapshot(NamedTuple):
    """One edge of a slice: the time, and the CPU time of either end, in seconds."""

    at: float
    server: float
    client: float


def snapshot(servers: Sequence[int], client: int) -> ProcessSnapshot:
    """Now. All processes of a server are one end. Raises ProcessLookupError where one of the processes, given by their ids, is gone."""
    return ProcessSnapshot(time.monotonic(), sum(map(_cpu, servers)), _cpu(client))


def _cpu(pid: int) -> float:
    if LINUX:
        try:
            # Of another process, in nanoseconds: CPUCLOCK_SCHED in the clock's lowest bits, see the kernel's posix-timers.h.
            return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
        except OSError:
            raise ProcessLookupError(pid) from None
    with _process(pid) as process:
        used = process.cpu_times()
    return float(used.user + used.system)


@contextmanager
def _process(pid: int) -> Iterator[psutil.Process]:
    """Raises ProcessLookupError where it is gone."""
    try:
        yield psutil.Process(pid)
    except psutil.NoSuchProcess:
        raise ProcessLookupError(pid) from None


def cost(
    before: ProcessSnapshot, after: ProcessSnapshot, calls: int, seconds: float, processors: int = 1
) -> Cpu:
    """What is between two snapshots, for each of so many calls, which took so many seconds. Python uses as many processors as the server
    has, but one for each of its processes; the client is one."""
    many = calls or 1
    server, client = after.server - before.server, after.client - before.client
    return Cpu(
        server / many,
        client / many,
        round(min(1.0, server / seconds / processors), 4),
        round(min(1.0, client / seconds), 4),
    )


def limit_of(server: float, client: float) -> Limit:
    """Which end had nothing to spare, of the parts of the time in which each was busy."""
    if server >= _BUSY and client < _FREE:
        return "server"
    if client >= _BUSY and server < _FREE:
        return "client"
    return "waiting" if server < _FREE and client < _FREE else "both"


def resident(pid: int) -> int:
    """Bytes of memory that the process has now. Raises ProcessLookupError where it is gone."""
    with _process(pid) as process:
        return int(process.memory_info().rss)


def descendants(pid: int) -> list[int]:
    """The processes that it has started, and those that they have."""
    with _process(pid) as process:
        return [child.pid for child in process.children(recursive=True)]


def processors() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class Speeds:
    """Looks at how fast processors are: a fixed piece of work, again and again."""

    def __init__(self) -> None:
        self._looks: dict[int, list[float]] = {}

    def look(self) -> None:
        """At each processor that this process may use, in turn."""
        ours = processors()
        for number in ours:
            if LINUX:
                os.sched_setaffinity(0, [number])
            self._looks.setdefault(number, []).append(_work())
        if LINUX:
            os.sched_setaffinity(0, ours)

    def found(self) -> Speed | None:
        """Of all processors; None where there were few looks."""
        looks = sorted(seconds for each in self._looks.values() for seconds in each)
        if len(looks) < 1 / _SLOWEST:
            return None
        best = looks[0]
        return Speed(best / looks[int(len(looks) * (1 - _SLOWEST))], best / looks[len(looks) // 2])


def _work() -> float:
    """Seconds of this thread's CPU time."""
    began, x = time.thread_time(), 1
    for _ in range(_STEPS):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return time.thread_time() - began
