"""Child processes of native threads in a program that gevent has patched: those of `executor="thread"`, and the one that runs coroutines.

gevent watches children on the main thread's loop alone, which reaps every child that ends: its `os.fork` and `subprocess` fail in any other
thread, and to take the originals there would lose exit statuses. So a thread that starts a process holds the main loop up meanwhile, and
has the child watched there.
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
        self.ended = native.allocate_lock()  # held until then
        self.ended.acquire()


class _Children:
    """All of them. To be made in the main thread."""

    def __init__(self) -> None:
        self.main = native.get_ident()
        self._loop: Any = gevent.get_hub().loop
        self._running: dict[int, _Child] = {}
        self._lonely = False  # in the child of a native thread, where no loop watches
        forks.inherit(self)

    def forked(self) -> None:
        self._running.clear()
        self._lonely = native.get_ident() != self.main

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """In a native thread: hold the main loop up, and let it watch the processes whose numbers are then in the list."""
        pids: list[int] = []
        if self._lonely:
            yield pids
            return
        held, over = native.allocate_lock(), native.allocate_lock()
        held.acquire()
        over.acquire()

        def hold() -> None:
            self._loop.install_sigchld()  # before one can end
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
        """As `os.waitpid`; None for a process that is none of these."""
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
    """After `monkey.patch_all()`, in the main thread."""
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
        # (gevent's leaves it to the thread's hub, which may not run again)
        (gevent_close if native.get_ident() == children.main else _close)(descriptor)

    class NativePopen(_Original):  # type: ignore[misc]
        """The standard library's, in a native thread."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            with children.watched() as pids:
                super().__init__(*args, **kwargs)
                pids.append(self.pid)

        def wait(self, timeout: float | None = None, _raise_exc: bool = True) -> int:
            # (with the parameters that gevent's `call` gives it)
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
        """gevent's in the main thread."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            if native.get_ident() == children.main or cls is not Popen:
                return super().__new__(cls)
            return NativePopen(*args, **kwargs)

    changed: Any
    for changed in (subprocess, gevent.subprocess):
        changed.Popen = Popen
    changed = subprocess
    changed._fork_exec = monkey.get_original("subprocess", "_fork_exec")  # which gevent takes away
    changed = os
    changed.fork, changed.waitpid, changed.close = fork, waitpid, close
    if sys.version_info < (3, 14):
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            asyncio.set_child_watcher(_Watcher())
    _refuse_pools()


class _Watcher(asyncio.ThreadedChildWatcher):
    """asyncio's own, in a native thread for each process."""

    def add_child_handler(self, pid: int, ended: Any, *args: Any) -> None:  # type: ignore[override]
        def wait() -> None:
            try:
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            except ChildProcessError:
                status = 255  # somebody else has taken it: what asyncio says then
            with suppress(RuntimeError):  # the loop is closed by now
                ended(pid, status, *args)

        native.start_thread(wait)


def _refuse_pools() -> None:
    """What would hang: the threads of a pool of processes would be greenlets, of which each blocks the others where it reads a pipe."""
    made: Any = pool.Pool
    begin = made.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if not isinstance(self, pool.ThreadPool):
            self._state = pool.CLOSE  # which its `__del__` looks at
            raise RuntimeError(
                "a multiprocessing.Pool would hang in a program that gevent has patched, as its threads are greenlets: "
                'give the method executor="process", or use multiprocessing.Process'
            )
        begin(self, *args, **kwargs)

    made.__init__ = __init__
