"""Child processes of native threads in a program that gevent has patched.

The threads are those of `executor="thread"`, and the one that runs coroutines. gevent watches
children only on the main thread's loop, which reaps every child that ends. So its `os.fork` and
`subprocess` fail in any other thread, and the original functions would lose exit statuses there. A
thread that starts a process therefore holds the main loop meanwhile, and has the child watched
there.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import pool
from typing import Any

import gevent
import gevent.subprocess
from gevent import monkey

from ...runtime import forks
from .. import native

_Original: Any = monkey.get_original("subprocess", "Popen")
_fork: Any = monkey.get_original("os", "fork")
_waitpid: Any = monkey.get_original("os", "waitpid")
_close: Any = monkey.get_original("os", "close")


class _Child:
    """A process that a native thread has started."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.ended = native.allocate_lock()  # held until the process ends
        self.ended.acquire()


class _Children:
    """All processes that native threads have started. Made in the main thread."""

    def __init__(self) -> None:
        self.main = native.get_ident()
        self._loop: Any = gevent.get_hub().loop
        self._running: dict[int, _Child] = {}
        self._lonely = False  # in a child that a native thread forked: no loop watches there
        forks.inherit(self)

    def forked(self) -> None:
        self._running.clear()
        self._lonely = native.get_ident() != self.main

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """In a native thread: hold the main loop, which then watches the processes in the list."""
        pids: list[int] = []
        if self._lonely:
            yield pids
            return
        held, over = native.allocate_lock(), native.allocate_lock()
        held.acquire()
        over.acquire()

        def hold() -> None:
            self._loop.install_sigchld()  # before any child can end
            held.release()
            over.acquire()
            for pid in pids:
                watcher = self._loop.child(pid, ref=False)
                watcher.start(self._ended, watcher)

        self._loop.run_callback_threadsafe(hold)
        held.acquire()
        try:
            yield pids
            self._running.update((pid, _Child()) for pid in pids)
        finally:
            over.release()

    def wait(self, pid: int, options: int) -> tuple[int, int] | None:
        """As `os.waitpid`, but None for a process that no native thread has started."""
        child = self._running.get(pid)
        if child is None:
            return None
        if child.status is None and options & os.WNOHANG:
            return 0, 0
        if native.get_ident() == self.main:
            while child.status is None:
                gevent.sleep(0.01)
        else:
            with child.ended:
                pass
        assert child.status is not None
        self._running.pop(pid, None)
        return pid, child.status

    def _ended(self, watcher: Any) -> None:
        watcher.stop()
        child = self._running.get(watcher.pid)
        if child is not None:
            child.status = watcher.rstatus
            child.ended.release()
        watcher.close()


def patch() -> None:
    """Patch `os` and `subprocess`. Call it in the main thread, after `monkey.patch_all()`."""
    children = _Children()
    gevent_fork: Any = os.fork
    gevent_waitpid: Any = os.waitpid
    gevent_close: Any = os.close

    def fork() -> int:
        if native.get_ident() == children.main:
            return int(gevent_fork())
        with children.watched() as pids:
            pid = int(_fork())
            if pid:
                pids.append(pid)
        if not pid:
            gevent.reinit()
        return pid

    def waitpid(pid: int, options: int) -> tuple[int, int]:
        others = gevent_waitpid if native.get_ident() == children.main else _waitpid
        return children.wait(pid, options) or others(pid, options)

    def close(descriptor: int) -> None:
        # gevent's `close` leaves the work to the thread's hub, which may not run again.
        (gevent_close if native.get_ident() == children.main else _close)(descriptor)

    class NativePopen(_Original):  # type: ignore[misc]
        """The standard library's Popen, for native threads."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            with children.watched() as pids:
                super().__init__(*args, **kwargs)
                pids.append(self.pid)

        def wait(self, timeout: float | None = None, _raise_exc: bool = True) -> int:
            # gevent's `call` passes these parameters.
            return int(super().wait(timeout))

        def _try_wait(self, flags: int) -> Any:
            return children.wait(self.pid, flags) or super()._try_wait(flags)

        def _internal_poll(self, *args: Any, **kwargs: Any) -> Any:
            told = None if self.returncode is not None else children.wait(self.pid, os.WNOHANG)
            if told is None:
                return super()._internal_poll(*args, **kwargs)
            if told[0]:
                self._handle_exitstatus(told[1])
            return self.returncode

    class Popen(gevent.subprocess.Popen):  # type: ignore[misc]
        """gevent's Popen in the main thread, NativePopen elsewhere."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            if native.get_ident() == children.main or cls is not Popen:
                return super().__new__(cls)
            return NativePopen(*args, **kwargs)

    changed: Any
    for changed in (subprocess, gevent.subprocess):
        changed.Popen = Popen
    changed = subprocess
    changed._fork_exec = monkey.get_original("subprocess", "_fork_exec")  # gevent removes it
    changed = os
    changed.fork, changed.waitpid, changed.close = fork, waitpid, close
    if sys.version_info < (3, 14):
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            asyncio.set_child_watcher(_Watcher())
    _refuse_pools()


class _Watcher(asyncio.ThreadedChildWatcher):
    """asyncio's child watcher, with a native thread for each process."""

    def add_child_handler(self, pid: int, ended: Any, *args: Any) -> None:  # type: ignore[override]
        def wait() -> None:
            try:
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            except ChildProcessError:
                status = 255  # another caller has reaped it; asyncio uses this status then
            with suppress(RuntimeError):  # the loop is already closed
                ended(pid, status, *args)

        native.start_thread(wait)


def _refuse_pools() -> None:
    """Make `multiprocessing.Pool` raise RuntimeError, as it would hang.

    Its threads would be greenlets, and each would block the others when it reads a pipe.
    """
    made: Any = pool.Pool
    begin = made.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if not isinstance(self, pool.ThreadPool):
            self._state = pool.CLOSE  # its `__del__` checks this
            raise RuntimeError(
                "a multiprocessing.Pool would hang in a program that gevent has patched, as its "
                "threads are greenlets: "
                'give the method executor="process", or use multiprocessing.Process'
            )
        begin(self, *args, **kwargs)

    made.__init__ = __init__
