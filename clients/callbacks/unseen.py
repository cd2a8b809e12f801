"""Errors of fired calls that nobody has looked at: logged for the whole process, ten lines a second at most, none left out of the count."""

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

# Seconds from one line to the next, at least.
PAUSE = 0.1

_found: deque[tuple[str, BaseException]] = deque()
_errands = Errands()


def unseen(method: str, error: BaseException) -> None:
    """A call has failed, and its future is gone. For finalisers: it takes no lock and does not wait."""
    _found.append((method, error))
    if sys.is_finalizing():  # no thread runs any more
        with suppress(Exception):
            _tell()
    else:
        _errands.post(_tell_and_rest)


def _tell_and_rest() -> None:
    if _tell():
        native.sleep(PAUSE)


@atexit.register
def _tell() -> bool:
    """Log what has gathered, as one line. Whether there was anything."""
    gathered = []
    while _found:
        gathered.append(_found.popleft())
    if not gathered:
        return False
    method, error = gathered[0]
    more = f" (and {len(gathered) - 1:,} more)" if len(gathered) > 1 else ""
    log.error("unhandled error of a fired call: %s: %s%s", method, errors.described(error), more)
    return True
