"""What bounds a turn of the loop in which messages are taken, and what becomes of what is raised in one."""

from __future__ import annotations

import logging

from ..backends.base import Loop
from ..logs.errorlog import log_error

log = logging.getLogger("ringback.transport")

# Messages taken in one turn of the loop, and seconds after which no more are: no peer may keep timers and other peers waiting.
MESSAGES_PER_TURN = 64
TURN = 0.001


def contain(loop: Loop, error: BaseException, text: str) -> None:
    """Nothing leaves a turn, or a loop would watch the descriptor no longer: gevent and Twisted do not. An Exception is logged with that
    text; all else (a signal's KeyboardInterrupt) is raised in a turn of the loop's own. Where a loop may be cut, all leaves it."""
    if loop.may_be_cut():
        raise error
    if issubclass(type(error), Exception):
        log_error(log, text, error=error)
    else:
        loop.call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
