"""What the two ends of a window cost, read from outside, so that what is measured does nothing for it.

On Linux by the clock of another process's CPU time and by /proc; elsewhere by psutil, with less detail.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from ..results import Cpu, Limit, Memory, Waiting

LINUX = sys.platform == "linux"

_STAT = Path("/proc/stat")
_HERTZ = os.sysconf("SC_CLK_TCK")

# An end is busy that could have used little more of its processors; one that is free could have used a good part more.
_BUSY = 0.90
_FREE = 0.85

# From what part of the generator's ceiling on the generator is taken for the limit.
CEILING = 0.80

# What may be taken from a window before it is called contaminated: by the hypervisor, as a part of all processors' time; by other
# programs, as a part of one processor, or so many of the ticks of 1/100 s in which the kernel counts.
_STEAL = 0.02
_OTHERS = 0.10
_TICKS = 3.0


class End(NamedTuple):
    """One process at one moment, in seconds of CPU time; `io` is what ZeroMQ's own threads had of it."""

    at: float
    cpu: float
    io: float
    runqueue: float
    voluntary: int
    involuntary: int


class _Times(NamedTuple):
    """Of one processor since the start, in seconds."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    steal: float


class Machine(NamedTuple):
    """Our processors together since the start, in seconds; `worked` is what programs had of them, without interrupts."""

    at: float
    idle: float
    steal: float
    worked: float = 0.0


class Snapshot(NamedTuple):
    """One edge of a window."""

    server: End
    client: End
    own: float
    machine: Machine


def snapshot(servers: Sequence[int], client: int) -> Snapshot:
    """Now. Several servers are one end. Raises ProcessLookupError where one of the processes, given by their ids, is gone."""
    return Snapshot(_together(servers), _end(client), time.process_time(), _machine())


def _together(pids: Sequence[int]) -> End:
    at, *rest = zip(*map(_end, pids), strict=True)
    return End(at[0], *map(sum, rest))


def _end(pid: int) -> End:
    at, cpu = time.monotonic(), _cpu(pid)
    if not LINUX:
        switches = psutil.Process(pid).num_ctx_switches()
        return End(at, cpu, 0.0, 0.0, switches.voluntary, switches.involuntary)
    io = runqueue = 0.0
    voluntary = involuntary = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            run, wait, _ = (task / "schedstat").read_text().split()
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            continue
        runqueue += int(wait) / 1e9
        name = status.partition("\n")[0]
        if "ZMQbg" in name:
            io += int(run) / 1e9
        *_, asked, suffered = status.split("voluntary_ctxt_switches:")
        voluntary += int(asked.partition("\n")[0])
        involuntary += int(suffered.partition("\n")[0])
    return End(at, cpu, io, runqueue, voluntary, involuntary)


def _cpu(pid: int) -> float:
    if LINUX:
        # Of another process, in nanoseconds: CPUCLOCK_SCHED in the clock's lowest bits, see the kernel's posix-timers.h.
        return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def _machine() -> Machine:
    """Of the processors that this process may use: in a container or under taskset others may idle, or work, as they like."""
    times = _processor_times() if LINUX else [psutil.cpu_times()]
    return Machine(
        time.monotonic(),
        sum(each.idle + getattr(each, "iowait", 0.0) for each in times),
        sum(getattr(each, "steal", 0.0) for each in times),
        sum(each.user + getattr(each, "nice", 0.0) + each.system for each in times),
    )


def _processor_times() -> list[_Times]:
    """By /proc/stat, whose lines have the processors' numbers: psutil has them by their place, which is another once one is offline."""
    ours = {b"cpu%d" % number for number in processors()}
    times = []
    with _STAT.open("rb") as lines:
        for line in lines:
            name, *ticks = line.split(maxsplit=9)
            if not name.startswith(b"cpu"):
                break  # long lines follow
            if name in ours:
                # See proc_stat(5).
                user, nice, system, idle, iowait, _, _, steal = (int(each) / _HERTZ for each in ticks[:8])
                times.append(_Times(user, nice, system, idle, iowait, steal))
    return times


class Observed(NamedTuple):
    """What a window cost, and what disturbed it."""

    cpu: Cpu
    waiting: Waiting
    memory: Memory
    limit: Limit
    steal: float
    others: float
    contaminated: str


def observed(
    before: Snapshot,
    after: Snapshot,
    calls: int,
    memory: Memory,
    processors: Sequence[int],
    *,
    disk: bool = False,
    servers: int = 1,
) -> Observed:
    """The difference between two snapshots, for each of so many calls. `processors` are how many the servers, the client and all have.

    Where a server writes to a `disk`, interrupts and what the kernel counts nowhere are the disk's, and no other program's.
    """
    server = _busy(before.server, after.server, processors[0], servers)
    client = _busy(before.client, after.client, processors[1])
    wall = after.machine.at - before.machine.at
    steal = (after.machine.steal - before.machine.steal) / wall
    ours = (
        sum(new.cpu - old.cpu for old, new in zip(before[:2], after[:2], strict=True))
        + after.own
        - before.own
    )
    if disk:
        others = max(0.0, (after.machine.worked - before.machine.worked - ours) / wall)
    else:
        others = max(0.0, processors[2] - (after.machine.idle - before.machine.idle + ours) / wall - steal)
    contaminated = ""
    if steal > _STEAL * processors[2]:
        contaminated = f"the hypervisor took {steal / processors[2]:.0%} of the processors"
    elif others > max(_OTHERS, _TICKS / 100 / wall):
        contaminated = f"other programs took {others:.0%} of a processor"
    many = calls or 1
    return Observed(
        Cpu(
            (after.server.cpu - before.server.cpu) / many,
            (after.client.cpu - before.client.cpu) / many,
            round(server, 4),
            round(client, 4),
        ),
        Waiting(
            max(0.0, after.server.runqueue - before.server.runqueue) / many,
            max(0, after.server.voluntary - before.server.voluntary) / many,
            max(0, after.server.involuntary - before.server.involuntary) / many,
        ),
        memory,
        "machine" if contaminated else _limit(server, client),
        round(steal, 4),
        round(others, 4),
        contaminated,
    )


def _busy(before: End, after: End, processors: int, processes: int = 1) -> float:
    """The part of the time in which an end had nothing to spare: of its processors, or of what the GIL lets run at a time."""
    used = after.cpu - before.cpu
    if processors > processes:
        used -= after.io - before.io
    return used / (after.at - before.at) / min(processors, processes)


def _limit(server: float, client: float) -> Limit:
    if server >= _BUSY and client < _FREE:
        return "server"
    if client >= _BUSY and server < _FREE:
        return "client"
    return "waiting" if server < _FREE and client < _FREE else "both"


def resident(pid: int) -> int:
    """Bytes of memory that the process has now. Raises ProcessLookupError where it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        raise ProcessLookupError(pid) from None


def processors() -> list[int]:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
