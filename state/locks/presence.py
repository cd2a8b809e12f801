"""The identity of a lock's process, and whether that process has certainly ended.

Its lease then need not run out. For a process on another machine or in another container, only the
lease is known.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


def me() -> str:
    """The identity of this process, which a later process with the same number does not share."""
    return _told(os.getpid())


def gone(who: str, one_machine: bool = False) -> bool:
    """Whether that process has certainly ended.

    For a store with `one_machine`, all processes from before the machine's last boot have ended.
    """
    place, _, process = who.rpartition("/")
    if not place or not _place() or who == me():
        return False
    if place != _place():
        return one_machine and place.partition("/")[0] != _place().partition("/")[0]
    number, _, began = process.partition("@")
    try:
        return _began(int(number)) != began
    except OSError:  # no permission to read it, if it exists
        return not _runs(int(number))


@cache
def _told(number: int) -> str:
    place = _place()
    return f"{place}/{number}@{_began(number)}" if place else ""


@cache
def _place() -> str:
    """The scope in which process numbers are unique: this boot and this PID namespace. "" if
    unknown."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _began(number: int) -> str:
    """The start of the process in ticks since the boot; "" for a zombie.

    Raises OSError if it cannot be read.
    """
    # After the name, which may contain anything: the state is field 3, the start field 22.
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
