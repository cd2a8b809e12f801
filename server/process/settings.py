"""Settings of a dedicated server process: memory allocator, thread switches, garbage collection."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress

# The environment variable, and the value that keeps glibc's defaults.
VARIABLE, DEFAULT = "RINGBACK_MALLOC", "default"

# mallopt parameters of <malloc.h>: free memory at the top of the heap to keep, and the size from
# which malloc maps a block by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# Bytes: the size from which malloc maps a block, and the free memory that it keeps. A mapped block
# goes back to the system when freed; otherwise attacks with large values would leave their memory
# behind. Smaller freed blocks are reused.
_MAPPED_FROM, _KEPT = 4 << 20, 16 << 20

# Python's default switch interval, and a server's, in seconds: a computing thread may hold the
# interpreter lock this long while the loop waits for it after each system call. With eight
# computing workers, the shorter interval cuts the time of calls to other methods to a third or a
# half; the work itself takes 3 to 8 % longer.
_DEFAULT_SWITCH, _SERVER_SWITCH = 0.005, 0.001


def prepare() -> None:
    """Apply the settings before the server starts."""
    _keep_freed()
    if sys.getswitchinterval() == _DEFAULT_SWITCH:
        sys.setswitchinterval(_SERVER_SWITCH)


def settle() -> None:
    """Exempt all objects that exist at the start from garbage collection.

    A full collection of imported modules stops the loop for 20 ms, each time that calls leave
    enough objects.
    """
    gc.collect()
    gc.freeze()


def _keep_freed() -> None:
    """Let malloc reuse freed blocks.

    Otherwise each value of a megabyte is mapped anew, which costs more than all other work on it (a
    page fault for each 4 KiB). Only with glibc, and not if $RINGBACK_MALLOC is "default".
    """
    if os.environ.get(VARIABLE) == DEFAULT:
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _MAPPED_FROM)
        mallopt(_TRIM_THRESHOLD, _KEPT)
