"""Limits of a turn of the event loop that handles messages, and the handling of its exceptions."""

from __future__ import annotations

import logging

from ..backends.base import Loop
from ..logs.errorlog import log_error

log = logging.getLogger("ringback.transport")

# Maximum messages per turn of the loop, and the seconds after which a turn takes no more: no peer
# may keep timers and other peers waiting.
MESSAGES_PER_TURN = 64
TURN = 0.001


def contain(loop: Loop, error: BaseException, text: str) -> None:
    """Handle an exception of a turn, so that none leaves it.

    gevent and Twisted stop watching a descriptor whose callback raises. An Exception is logged with
    the text; any other (such as a signal's KeyboardInterrupt) is raised in a loop turn of its own.
    On a loop whose turns may be cut, all exceptions leave the turn.
    """
    if loop.may_be_cut():
        raise error
    if issubclass(type(error), Exception):
        log_error(log, text, error=error)
    else:
        loop.call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
