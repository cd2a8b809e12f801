"""Forks: sockets, loops and threads stay with their process, and are inert in a forked child.

Objects that must become inert register with `inherit`. A child that a handler or callback forked,
and that returns from that handler, ends in `came_back`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import weakref
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol, TypeVar

from ..errors import is_a, name_of

T = TypeVar("T")

# The number of forks from the first process to this one. Objects made at another number belong to a
# parent.
generation = 0


class Inherited(Protocol):
    """An object that a child gets a copy of and must not use."""

    def forked(self) -> None:
        """Called in the child, in its only thread, which forked.

        It must not touch resources that parent and child share.
        """


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()
_locks: list[Any] = []
_held_back: set[int] = set()
_masks: dict[int, set[int]] = {}  # signal masks of threads that fork
# The generation, set in the context of the code that forked, but not in the other tasks and
# greenlets that the child has inherited.
_here: ContextVar[int] = ContextVar("ringback.forked", default=0)


def inherit(what: Inherited) -> None:
    """Call `what.forked()` in each forked child and in its children, as long as `what` lives."""
    _inherited.add(what)


def freed(lock: T) -> T:
    """Have the lock freed in each child, which lacks the thread that held it. Returns the lock."""
    _locks.append(lock)
    return lock


def free(held: Any) -> None:
    """In a child: free a lock, unless it is an RLock held by the thread that forked."""
    if not (hasattr(held, "_is_owned") and held._is_owned()):
        held._at_fork_reinit()


def separate(polls: Any, descriptors: Iterable[int] = ()) -> None:
    """In a child: give an epoll object, or a selector with one, an empty interest list of its own.

    The object shares its list with the parent's: removing a descriptor, as the end of a loop does,
    would end the parent's watch. `descriptors` are registered without events, so that they can
    still be removed.
    """
    if hasattr(select, "epoll") and hasattr(polls, "fileno"):
        with select.epoll() as own:
            for descriptor in set(descriptors):
                own.register(descriptor, 0)
            os.dup2(own.fileno(), polls.fileno(), inheritable=False)


def came_back(where: str, error: BaseException | None = None) -> None:
    """End this child if the code that forked has now returned, or raised the error."""
    if _here.get() == generation:
        end(where, error)


def end(where: str, error: BaseException | None = None) -> NoReturn:
    """End this child before it does its parent's work.

    SystemExit gives the exit status, as in any program. Any other end prints a line and gives
    status 1. Buffered output is written; exit handlers do not run.
    """
    if error is not None and is_a(error, SystemExit):
        code = error.code
        status = 0 if code is None else code & 0xFF if isinstance(code, int) else 1
        said = f"{code}\n" if isinstance(code, str) else ""
    else:
        how = "came back" if error is None else f"came back with {name_of(error)}"
        status = 1
        said = (
            f"ringback: process {os.getpid()} was forked in {where}, {how} and was ended, as its "
            f"event loop "
            "belongs to its parent. Let a child end with sys.exit, os._exit or exec.\n"
        )
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os.write(2, said.encode(errors="replace"))
    finally:
        os._exit(status)


def hold_back(*numbers: int) -> None:
    """Block these signals in a child until its `forked` functions have run.

    Their handlers belong to this process.
    """
    _held_back.update(numbers)


def _before() -> None:
    if _held_back:
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _held_back)


def _after() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _forked() -> None:
    global generation
    generation += 1
    _here.set(generation)
    for held in _locks:
        free(held)
    for what in list(_inherited):
        what.forked()
    _held_back.clear()
    _after()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_forked)
