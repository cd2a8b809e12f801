"""The base class that makes a server a Twisted service, for an application or to start by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python import threadable

from ...errors import UsageError
from ..native import get_ident

if TYPE_CHECKING:
    from ..base import Loop


class Startable(Service):
    """An IService: `startService` begins to serve, `stopService` drains.

    The Deferred of `startService` fires when the server answers calls. `ringback.Server` is the
    other half of the class.
    """

    if TYPE_CHECKING:
        _loop: Loop | None

        def _new_loop(self) -> Loop: ...

        def _begin(self, loop: Loop, report: Callable[[BaseException | None], object]) -> None: ...

        def _drain(self, ended: Callable[[bool], object]) -> None: ...

        def _close(self, loop: Loop) -> None: ...

    def startService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        started_in: int | None = threadable.ioThread  # None before the reactor runs
        if started_in is not None and started_in != get_ident():
            raise UsageError(
                "startService() was called outside the reactor's thread: use reactor.callFromThread"
            )
        Service.startService(self)  # type: ignore[no-untyped-call]
        loop = self._new_loop()
        started: Deferred[None] = Deferred()

        def begun(error: BaseException | None) -> None:
            if error is None:
                started.callback(None)
            else:
                self._close(loop)
                started.errback(error)

        self._begin(loop, begun)
        return started

    def stopService(self) -> Deferred[Any]:  # noqa: N802
        Service.stopService(self)  # type: ignore[no-untyped-call]
        ended: Deferred[Any] = Deferred()
        loop = self._loop
        if loop is None:
            ended.callback(None)
            return ended

        def closed(_: bool) -> None:
            self._close(loop)
            ended.callback(None)

        self._drain(closed)
        return ended
