"""Process-wide settings of a dedicated server process: memory allocator, thread switches, garbage collection."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress

# The variable, and its value for glibc's own ways.
VARIABLE, DEFAULT = "RINGBACK_MALLOC", "default"

# Of <malloc.h>: from which size on a piece is mapped by itself, and how much freed memory at the end is given back.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# Bytes. A larger piece goes back to the system when it is freed, or attacks by such values would leave their memory behind; where smaller
# ones were, the next find their place.
_MAPPED_FROM, _KEPT = 4 << 20, 16 << 20

# Seconds after which a thread that computes must let a waiting thread run: Python's default, and a server's. The loop waits for its turn
# after each system call. Beside eight computing workers, calls to other methods take a third to a half of the time, and the work itself
# 3 to 8 % more.
_DEFAULT_SWITCH, _SERVER_SWITCH = 0.005, 0.001


def prepare() -> None:
    """Before it serves."""
    _keep_freed()
    if sys.getswitchinterval() == _DEFAULT_SWITCH:
        sys.setswitchinterval(_SERVER_SWITCH)


def settle() -> None:
    """Exempt all objects that exist at the start from garbage collection: a full collection of imported modules stops the loop for 20 ms,
    and comes back whenever calls leave enough objects."""
    gc.collect()
    gc.freeze()


def _keep_freed() -> None:
    """Let what is freed be used again: values of a megabyte would else be mapped anew each time, which costs more than all else that is
    done with them (a page fault for each 4 KiB). With glibc only, and not where $RINGBACK_MALLOC is "default"."""
    if os.environ.get(VARIABLE) == DEFAULT:
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _MAPPED_FROM)
        mallopt(_TRIM_THRESHOLD, _KEPT)
