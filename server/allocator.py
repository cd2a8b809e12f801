"""What glibc does with large pieces of memory that are freed."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

# The variable, and its value for glibc's own ways.
VARIABLE, DEFAULT = "RINGBACK_MALLOC", "default"

# Of <malloc.h>: from which size on a piece is mapped by itself, and how much freed memory at the end is given back.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# Bytes. A larger piece goes back to the system when it is freed, or attacks by such values would leave their memory behind; where smaller
# ones were, the next find their place.
_MAPPED_FROM, _KEPT = 4 << 20, 16 << 20


def keep_freed() -> None:
    """Let what is freed be used again: values of a megabyte would else be mapped anew each time, which costs more than all else that is
    done with them (a page fault for each 4 KiB). With glibc only, and not where $RINGBACK_MALLOC is "default"."""
    if os.environ.get(VARIABLE) == DEFAULT:
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _MAPPED_FROM)
        mallopt(_TRIM_THRESHOLD, _KEPT)
