"""Forks: sockets, loops and threads stay with the process that made them. In a forked child, what was made before is inert.

What must be made inert says so with `inherit`; the child of a handler or callback that comes back from it ends in `came_back`.
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

# How many forks lie behind this process. What was made at another number belongs to a parent.
generation = 0


class Inherited(Protocol):
    """What a child gets a copy of, and must not use."""

    def forked(self) -> None:
        """Called in the child, in the thread that forked, the only one there is. It must not touch what parent and child share."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()
_locks: list[Any] = []
_held_back: set[int] = set()
_masks: dict[int, set[int]] = {}  # of threads that fork
# In the context of the code that forked, and in none of the tasks and greenlets that the child has inherited beside it: the number.
_here: ContextVar[int] = ContextVar("ringback.forked", default=0)


def inherit(what: Inherited) -> None:
    """Have `what.forked()` called in each forked child, and in the children of that, as long as it lives."""
    _inherited.add(what)


def freed(lock: T) -> T:
    """The same lock, which is free in each child: the thread that held it is not there."""
    _locks.append(lock)
    return lock


def free(held: Any) -> None:
    """In a child: free a lock, unless it is an RLock of the thread that forked."""
    if not (hasattr(held, "_is_owned") and held._is_owned()):
        held._at_fork_reinit()


def separate(polls: Any, descriptors: Iterable[int] = ()) -> None:
    """In a child: give an epoll object, or a selector with one, a list of descriptors of its own, in which nothing is waited for. It shares
    the parent's: to take one out, as the end of a loop does, would make the parent deaf. `descriptors` can still be taken out."""
    if hasattr(select, "epoll") and hasattr(polls, "fileno"):
        with select.epoll() as own:
            for descriptor in set(descriptors):
                own.register(descriptor, 0)
            os.dup2(own.fileno(), polls.fileno(), inheritable=False)


def came_back(where: str, error: BaseException | None = None) -> None:
    """In a child: code has returned, or raised the error, that was called before the fork. If it is what forked, the child ends here."""
    if _here.get() == generation:
        end(where, error)


def end(where: str, error: BaseException | None = None) -> NoReturn:
    """End this child, before it does its parent's work.

    SystemExit gives the exit status, as in any program; all else is said in a line, and is status 1. Buffered output is written, exit
    handlers do not run.
    """
    if error is not None and is_a(error, SystemExit):
        code = error.code
        status = 0 if code is None else code & 0xFF if isinstance(code, int) else 1
        said = f"{code}\n" if isinstance(code, str) else ""
    else:
        how = "came back" if error is None else f"came back with {name_of(error)}"
        status = 1
        said = (
            f"ringback: process {os.getpid()} was forked in {where}, {how} and was ended, as its loop is its parent's. "
            "Let a child end with sys.exit, os._exit or exec.\n"
        )
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os.write(2, said.encode(errors="replace"))
    finally:
        os._exit(status)


def hold_back(*numbers: int) -> None:
    """Handlers of these signals are this process's own: let none arrive in a child before its `forked` functions have been called."""
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
