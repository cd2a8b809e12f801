"""A server in its own thread, on any event loop."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future
from typing import Any

from ..backends import native
from ..errors import UsageError
from ..server.server import Server


class Background:
    """A server whose event loop starts and ends with it.

    The future `started` completes when it answers calls, `ended` when it has ended.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.started: Future[None] = Future()
        self.ended: Future[None] = Future()
        self._given_up = False

    def begin(self) -> None:
        native.start_thread(self._run, lambda: _settle(self.ended, None))

    def end(self) -> None:
        """Drain the server. Thread-safe; works before it has started, too."""
        self._given_up = True
        self.server.leave()

    def _run(self) -> None:
        try:
            self.server.run(lambda _: self._ready(), signals=False)
        except BaseException as error:
            _settle(self.started, error)

    def _ready(self) -> None:
        if self._given_up:  # the waiting test was interrupted
            self.server.leave()
        _settle(self.started, None)


class ReactorBackground(Background):
    """A server on the reactor.

    The first of them starts the reactor in its own thread. It ends with the process.
    """

    def begin(self) -> None:
        _run_reactor()
        self._call("startService", self.started)

    def end(self) -> None:
        self._call("stopService", self.ended)

    def _call(self, name: str, done: Future[None]) -> None:
        from twisted.internet import reactor
        from twisted.internet.defer import maybeDeferred

        def call() -> None:
            maybeDeferred(getattr(self.server, name)).addCallbacks(
                lambda _: _settle(done, None), lambda failure: _settle(done, failure.value)
            )

        loop: Any = reactor
        loop.callFromThread(call)


def _settle(done: Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def reactor_runs_here() -> bool:
    """Whether Twisted's reactor runs in this thread."""
    if "twisted.internet.reactor" not in sys.modules:
        return False
    from twisted.internet import reactor
    from twisted.python import threadable

    loop: Any = reactor
    return bool(loop.running) and threadable.ioThread == threading.get_ident()


def reactor_will_run() -> bool:
    """Whether the reactor may still start: `task.react` starts its coroutine before the reactor."""
    if "twisted.internet.reactor" not in sys.modules:
        return False
    from twisted.internet import reactor

    loop: Any = reactor
    return not (loop.running or loop._startedBefore)


def _run_reactor() -> None:
    """Start the reactor if needed.

    Raises UsageError if it has been stopped: Twisted's reactor runs only once in a process.
    """
    from twisted.internet import reactor

    loop: Any = reactor
    if loop.running:
        return
    if loop._startedBefore:
        raise UsageError(
            "the reactor has been stopped and cannot run again in this process: use another backend"
        )
    started = threading.Event()
    loop.callWhenRunning(started.set)
    native.start_thread(lambda: loop.run(installSignalHandlers=False))
    started.wait()
