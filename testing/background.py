"""A server in a thread of its own, whatever its loop is."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future
from typing import Any

from ..backends import native
from ..errors import UsageError
from ..server.server import Server


class Background:
    """A server whose loop begins and ends with it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._started: Future[None] = Future()
        self._running: Any = None

    def start(self) -> None:
        """Returns when calls are answered. Raises what keeps the server from that."""
        self._running = native.start_thread(self._run)
        self._started.result()

    def _run(self) -> None:
        try:
            self.server.run(lambda _: self._started.set_result(None), signals=False)
        except BaseException as error:
            self._started.set_exception(error)

    def stop(self) -> None:
        """Drain it. Returns when it has ended."""
        self.server.leave()
        with self._running:
            pass


class ReactorBackground(Background):
    """A server on the reactor, which begins with the first of them, in a thread of its own, and ends with the process."""

    def start(self) -> None:
        _run_reactor()
        self._call("startService")

    def stop(self) -> None:
        self._call("stopService")

    def _call(self, name: str) -> None:
        from twisted.internet import reactor
        from twisted.internet.threads import blockingCallFromThread

        blockingCallFromThread(reactor, getattr(self.server, name))


def reactor_runs_here() -> bool:
    """Whether Twisted's reactor runs in this thread."""
    if "twisted.internet.reactor" not in sys.modules:
        return False
    from twisted.internet import reactor
    from twisted.python import threadable

    running: Any = reactor
    return bool(running.running) and threadable.ioThread == threading.get_ident()


def reactor_is_here() -> bool:
    """Whether Twisted's reactor runs in this thread, or will: `task.react` begins its coroutine before the reactor."""
    if "twisted.internet.reactor" not in sys.modules:
        return False
    from twisted.internet import reactor

    loop: Any = reactor
    return reactor_runs_here() or not (loop.running or loop._startedBefore)


def _run_reactor() -> None:
    """Raises UsageError where it has been stopped: Twisted's reactor runs once in a process."""
    from twisted.internet import reactor

    loop: Any = reactor
    if loop.running:
        return
    if loop._startedBefore:
        raise UsageError("the reactor has been stopped, and runs once in a process: serve on another loop")
    started = threading.Event()
    loop.callWhenRunning(started.set)
    native.start_thread(lambda: loop.run(installSignalHandlers=False))
    started.wait()
