"""Logs errors of fired calls that the program never retrieved.

It logs for the whole process, at most ten lines a second, and counts every error.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections import deque
from contextlib import suppress

from ... import errors
from ...backends import native
from .errands import Errands

log = logging.getLogger("ringback.client")

# Minimum seconds between two log lines.
PAUSE = 0.1

_found: deque[tuple[str, BaseException]] = deque()
_errands = Errands()


def unseen(method: str, error: BaseException) -> None:
    """Queue the error of a failed call whose future is gone.
    Safe in finalisers: takes no lock and never waits."""
    _found.append((method, error))
    if sys.is_finalizing():  # threads no longer run
        with suppress(Exception):
            _tell()
    else:
        _errands.post(_tell_and_rest)


def _tell_and_rest() -> None:
    if _tell():
        native.sleep(PAUSE)


@atexit.register
def _tell() -> bool:
    """Log the queued errors as one line. Returns whether there were any."""
    gathered = []
    while _found:
        gathered.append(_found.popleft())
    if not gathered:
        return False
    method, error = gathered[0]
    more = f" (and {len(gathered) - 1:,} more)" if len(gathered) > 1 else ""
    log.error("unhandled error of a fired call: %s: %s%s", method, errors.described(error), more)
    return True
