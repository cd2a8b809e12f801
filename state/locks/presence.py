"""Which process holds something, and whether it surely is gone: then nobody has to wait for its lease to run out.

Of a process on another machine, or in another container, nothing can be known but its lease.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


def me() -> str:
    """This process, told from all others, also from one that later has its number."""
    return _told(os.getpid())


def gone(who: str, one_machine: bool = False) -> bool:
    """Whether that process surely has ended. Of a store that `one_machine` has to itself, all who were there before its last start have."""
    place, _, process = who.rpartition("/")
    if not place or not _place() or who == me():
        return False
    if place != _place():
        return one_machine and place.partition("/")[0] != _place().partition("/")[0]
    number, _, began = process.partition("@")
    try:
        return _began(int(number)) != began
    except OSError:  # it is not ours to look at, if it is there
        return not _runs(int(number))


@cache
def _told(number: int) -> str:
    place = _place()
    return f"{place}/{number}@{_began(number)}" if place else ""


@cache
def _place() -> str:
    """Where the numbers of processes mean the same: this boot of this machine, this namespace of numbers. "" where that is unknown."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _began(number: int) -> str:
    """When the process began, in ticks since the boot; "" where only its remains are there. Raises OSError where it cannot be seen."""
    # After the name, which may hold anything: the state is the third field, the start the 22nd.
    fields = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
