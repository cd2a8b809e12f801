"""The memory that this process holds, and giving back what of it is free."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_STATM = Path("/proc/self/statm")

# Bytes that pass through a server before its memory is looked at; and the growth that is given back, as far as it is free.
_PASSED, _GROWTH = 8 << 20, 12 << 20


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def give_back() -> None:
    """Let the system have what is free: the pieces of large values leave holes, which the allocator would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


class Holes:
    """What large messages leave behind in a process that serves on."""

    def __init__(self) -> None:
        self._least = resident()
        self._passed = 0
        self._freed = self._seen = 0  # bytes since memory was given back: now, and at the last look

    @property
    def left(self) -> bool:
        """Whether there may be something to give back once it is quiet."""
        return self._freed > _GROWTH

    def passed(self, count: int) -> None:
        """So many bytes were kept for a message, and are free."""
        self._freed += count
        self._passed += count
        if self._passed > _PASSED:
            self._follow()

    def look(self) -> None:
        """From time to time: give back what is free where nothing large has passed since the last look."""
        if self.left and self._freed == self._seen:
            self._give_back()
        else:
            self._follow()
        self._seen = self._freed

    def _follow(self) -> None:
        """Give back what is free where the memory has grown since it was least. What is left then is in use, and counts as that."""
        self._passed = 0
        now = resident()
        if now - self._least > _GROWTH:
            self._give_back()
        else:
            self._least = min(self._least, now)

    def _give_back(self) -> None:
        give_back()
        self._least = resident()
        self._freed = 0
