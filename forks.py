"""Forks: sockets, loops and threads stay with the process that made them. In a forked child, what was made before is inert.

What must be made inert says so with `inherit`; the child of a handler or callback that comes back from it ends in `came_back`.
"""

from __future__ import annotations

import os
import select
import sys
import weakref
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# How many forks lie behind this process. What was made at another number belongs to a parent.
generation = 0


class Inherited(Protocol):
    """What a child gets a copy of, and must not use."""

    def forked(self) -> None:
        """Called in the child, in the thread that forked, the only one there is. It must not touch what parent and child share."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()
_locks: list[Any] = []
_forker: Any = None  # on gevent, the greenlet that forked


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
    """In a child: the code that forked has returned, or raised the error. The child ends here, before it does its parent's work.

    SystemExit gives the exit status, as in any program; all else is said in a line, and is status 1. Buffered output is written, exit
    handlers do not run. Other greenlets than the one that forked go on.
    """
    if _forker is not None and _greenlet() is not _forker:
        return
    if isinstance(error, SystemExit):
        code = error.code
        status = 0 if code is None else code & 0xFF if isinstance(code, int) else 1
        said = f"{code}\n" if isinstance(code, str) else ""
    else:
        how = "came back from it" if error is None else f"left it with {type(error).__name__}"
        status = 1
        said = (
            f"ringback: process {os.getpid()} was forked in {where} and {how}: it is ended, as the loop is its parent's. "
            "Let a child end with sys.exit, os._exit or exec.\n"
        )
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os.write(2, said.encode(errors="replace"))
    finally:
        os._exit(status)


def _greenlet() -> Any:
    module = sys.modules.get("greenlet")
    return None if module is None else module.getcurrent()


def _forked() -> None:
    global generation, _forker
    generation += 1
    _forker = _greenlet()
    for held in _locks:
        free(held)
    for what in list(_inherited):
        what.forked()


os.register_at_fork(after_in_child=_forked)
