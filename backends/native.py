"""Native threads, locks, queues and sockets, also in a process that gevent has patched.

After `gevent.monkey.patch_all()` the names in `threading` and `queue` mean greenlets; gevent keeps
the originals, which this module returns.
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
    # The getattr has a default, as another thread may be importing the module for the first time.
    # Then gevent has patched nothing yet.
    get_original = getattr(sys.modules.get("gevent.monkey"), "get_original", None)
    if get_original is not None:
        return get_original(module, name)
    return getattr(import_module(module), name)


# The id of the calling native thread. The function is looked up once, for the hot path.
get_ident: Callable[[], int] = _original("get_ident")


def may_be_interrupted() -> bool:
    """Whether signal handlers run in this thread, where they may raise between any two steps.

    Under gevent's patches a handler runs in any greenlet, so it has no thread of its own.
    """
    return get_ident() == threading.main_thread().ident


def allocate_lock() -> Any:
    """A lock that blocks the whole thread."""
    return _original("allocate_lock")()


def local() -> Any:
    """An object with separate attributes for each native thread (`threading.local`)."""
    return _original("_local")()


def selector() -> selectors.BaseSelector:
    """The best selector of the system, which blocks the thread and not a hub."""
    chosen: selectors.BaseSelector = _original("DefaultSelector", "selectors")()
    return chosen


def sleep(seconds: float) -> None:
    """Block the whole thread for that number of seconds."""
    _original("sleep", "time")(seconds)


def getaddrinfo(host: str | None, port: int | str | None, **options: Any) -> list[Any]:
    """The unpatched `socket.getaddrinfo`, which blocks the calling thread and not a hub."""
    found: list[Any] = _original("getaddrinfo", "socket")(host, port, **options)
    return found


def listen(host: str, port: int) -> Any:
    """A TCP socket that listens at host and port and blocks the whole thread. Raises OSError."""
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
    """The next connection of a socket that `listen` made; it blocks the whole thread as well."""
    descriptor, _ = listener._accept()  # `accept` would return an instance of gevent's class
    return _original("socket", "socket")(fileno=descriptor)


def start_thread(function: Callable[[], object], then: Callable[[], object] = object) -> Any:
    """Run the function in a new daemon thread, then `then`.

    `then` runs after the thread has destroyed its gevent hub: an interpreter that ends while a
    thread still has a hub crashes. Returns a lock that is held until both functions have returned.
    """
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
    """Wait for threads, given the locks that `start_thread` returned, until that monotonic time."""
    for lock in running:
        lock.acquire(timeout=max(0.0, until - time.monotonic()))


def _end_dummy() -> None:
    """Drop the dummy object that `threading` made for this ending thread when it logged.

    Before Python 3.13 the object would stay in the list of `threading` for ever.
    """
    threading._active.pop(get_ident(), None)  # type: ignore[attr-defined]


def _end_hub() -> None:
    """Destroy the hub of this ending thread, if it has one.

    A thread that has used a patched function has a hub, with descriptors and perhaps a thread.
    """
    local_to_thread = sys.modules.get("gevent._hub_local")
    hub = None if local_to_thread is None else local_to_thread.get_hub_if_exists()
    if hub is not None:
        hub.destroy(destroy_loop=True)
