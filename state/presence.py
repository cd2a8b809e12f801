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


def gone(who: str) -> bool:
    """Whether that process surely has ended."""
    place, _, process = who.rpartition("/")
    if not place or place != _place():
        return False
    number, _, began = process.partition("@")
    return _began(int(number)) != began


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
    """When the process began, in ticks since the boot; "" where there is none, or only what is left of it."""
    try:
        # After the name, which may hold anything: the state is the third field, the start the 22nd.
        fields = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
