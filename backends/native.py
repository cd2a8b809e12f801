"""Real threads, locks and queues of the operating system, also in a process that gevent has patched.

After `gevent.monkey.patch_all()` the names in `threading` and `queue` mean greenlets; the originals are kept by gevent.
"""

from __future__ import annotations

import selectors
import socket
import sys
import threading
import time
from _queue import SimpleQueue
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

__all__ = [
    "SimpleQueue",
    "accept",
    "allocate_lock",
    "get_ident",
    "getaddrinfo",
    "join",
    "listen",
    "local",
    "selector",
    "sleep",
    "start_thread",
]


def _original(name: str, module: str = "_thread") -> Any:
    # (Another thread may be importing it, for the first time: then it has patched nothing yet.)
    get_original = getattr(sys.modules.get("gevent.monkey"), "get_original", None)
    if get_original is not None:
        return get_original(module, name)
    return getattr(import_module(module), name)


# The number of the operating system thread that asks; found once, for the hot path.
get_ident: Callable[[], int] = _original("get_ident")


def may_be_interrupted() -> bool:
    """Whether this is the thread in which handlers of signals run, and may raise between any two steps. (Under gevent's patches it is none:
    a handler runs in whatever greenlet does.)"""
    return get_ident() == threading.main_thread().ident


def allocate_lock() -> Any:
    """A lock that blocks the whole thread."""
    return _original("allocate_lock")()


def local() -> Any:
    """What each thread of the operating system has its own attributes of."""
    return _original("_local")()


def selector() -> selectors.BaseSelector:
    """The best selector there is, waiting in the thread and not in a hub."""
    chosen: selectors.BaseSelector = _original("DefaultSelector", "selectors")()
    return chosen


def sleep(seconds: float) -> None:
    """Let the whole thread sleep."""
    _original("sleep", "time")(seconds)


def getaddrinfo(host: str | None, port: int | str | None, **options: Any) -> list[Any]:
    """What a name stands for, looked up in the thread that asks: `socket.getaddrinfo`, which waits in a hub where gevent has patched it."""
    found: list[Any] = _original("getaddrinfo", "socket")(host, port, **options)
    return found


def listen(host: str, port: int) -> Any:
    """A TCP socket that listens there, and blocks the whole thread. Raises OSError."""
    (family, kind, protocol, _, place), *_ = getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listener = _original("socket", "socket")(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def accept(listener: Any) -> Any:
    """The next connection of a socket that `listen` made, which blocks the whole thread as well."""
    descriptor, _ = listener._accept()  # (`accept` would make it of the class that gevent has put in place)
    return _original("socket", "socket")(fileno=descriptor)


def start_thread(function: Callable[[], object], then: Callable[[], object] = object) -> Any:
    """Run the function in a new daemon thread, and `then` where nothing of gevent is left in it: an interpreter that ends beside a hub
    crashes. Returns a lock that is held until both have returned."""
    running = allocate_lock()
    running.acquire()

    def run() -> None:
        try:
            function()
        finally:
            _end_hub()
            _end_dummy()
            then()
            running.release()

    _original("start_new_thread")(run, ())
    return running


def join(running: Iterable[Any], until: float) -> None:
    """Wait, until that monotonic time at most, for threads whose locks `start_thread` returned."""
    for lock in running:
        lock.acquire(timeout=max(0.0, until - time.monotonic()))


def _end_dummy() -> None:
    """Of this thread, which ends: what `threading` has made of it when it logged. Before Python 3.13 it would stay in its list for ever."""
    threading._active.pop(get_ident(), None)  # type: ignore[attr-defined]


def _end_hub() -> None:
    """Of this thread, which ends: one that has used what gevent has patched has a hub, with descriptors and perhaps a thread of its own."""
    local_to_thread = sys.modules.get("gevent._hub_local")
    hub = None if local_to_thread is None else local_to_thread.get_hub_if_exists()
    if hub is not None:
        hub.destroy(destroy_loop=True)
