"""The memory of this process, and returning its free part to the system."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_STATM = Path("/proc/self/statm")

# Bytes of messages after which a server checks its memory; and the growth in bytes after which it
# returns free memory.
_PASSED, _GROWTH = 8 << 20, 12 << 20


def resident() -> int:
    """Resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def give_back() -> None:
    """Return free memory to the system: large values leave holes that the allocator would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


class Holes:
    """Tracks the free memory that large messages leave behind in a serving process."""

    def __init__(self) -> None:
        self._least = resident()
        self._passed = 0
        self._freed = self._seen = 0  # bytes freed since the last return: now, at the last check

    @property
    def left(self) -> bool:
        """Whether there may be memory to return once the server is idle."""
        return self._freed > _GROWTH

    def passed(self, count: int) -> None:
        """Count the freed bytes of a message."""
        self._freed += count
        self._passed += count
        if self._passed > _PASSED:
            self._follow()

    def look(self) -> None:
        """Called periodically: return free memory if no large message has passed meanwhile."""
        if self.left and self._freed == self._seen:
            self._give_back()
        else:
            self._follow()
        self._seen = self._freed

    def _follow(self) -> None:
        """Return free memory if the memory has grown from its minimum.

        The remaining memory is in use, and is the new minimum.
        """
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
