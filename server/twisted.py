"""`ringback.Server(backend="twisted")` as a Twisted service, to be put into an application or started by hand."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred
from twisted.python import threadable

from ..backends.native import get_ident
from ..errors import UsageError
from .server import Server


class TwistedServer(Server, TwistedService):
    """An IService: `startService` begins to serve (its Deferred fires when calls are answered), `stopService` drains."""

    def startService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        started_in: int | None = threadable.ioThread  # None before the reactor runs
        if started_in is not None and started_in != get_ident():
            raise UsageError(
                "startService() was called in another thread than the reactor's: use reactor.callFromThread"
            )
        TwistedService.startService(self)  # type: ignore[no-untyped-call]
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
        TwistedService.stopService(self)  # type: ignore[no-untyped-call]
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
