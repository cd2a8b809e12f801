"""A server with a client in a `with` or an `async with`, on any event loop and in any style.

The server runs on the test's own loop where possible: asyncio in an `async with`, a gevent hub with
a gevent client, or the reactor. Otherwise it runs in its own thread.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Unpack, overload

from .. import clients, transport
from ..errors import UsageError
from ..server.declare.service import Service
from ..server.options import ServingOptions
from ..server.server import Server
from .background import Background, ReactorBackground, reactor_runs_here, reactor_will_run

if TYPE_CHECKING:
    from ..clients.asyncio import AsyncioClient
    from ..clients.gevent import GeventClient
    from ..clients.options import ConnectOptions
    from ..clients.threading import ThreadingClient
    from ..clients.twisted import TwistedClient

    class ServedThreadingClient(ThreadingClient):
        """The client that `serving` returns, with its server."""

        server: Server

    class ServedGeventClient(GeventClient):
        """The same for gevent."""

        server: Server

    class ServedAsyncioClient(AsyncioClient):
        """The same for asyncio."""

        server: Server

    class ServedTwistedClient(TwistedClient):
        """The same for Twisted."""

        server: Server


C = TypeVar("C")

_numbers = itertools.count(1)


@overload
def serving(
    service: Service,
    backend: str = ...,
    client: Literal["threading"] = ...,
    *,
    bind: str | Sequence[str] | None = ...,
    connect: ConnectOptions | None = ...,
    **server_options: Unpack[ServingOptions],
) -> Serving[ServedThreadingClient]: ...


@overload
def serving(
    service: Service,
    backend: str = ...,
    *,
    client: Literal["gevent"],
    bind: str | Sequence[str] | None = ...,
    connect: ConnectOptions | None = ...,
    **server_options: Unpack[ServingOptions],
) -> Serving[ServedGeventClient]: ...


@overload
def serving(
    service: Service,
    backend: str = ...,
    *,
    client: Literal["asyncio"],
    bind: str | Sequence[str] | None = ...,
    connect: ConnectOptions | None = ...,
    **server_options: Unpack[ServingOptions],
) -> Serving[ServedAsyncioClient]: ...


@overload
def serving(
    service: Service,
    backend: str = ...,
    *,
    client: Literal["twisted"],
    bind: str | Sequence[str] | None = ...,
    connect: ConnectOptions | None = ...,
    **server_options: Unpack[ServingOptions],
) -> Serving[ServedTwistedClient]: ...


def serving(
    service: Service,
    backend: str = "threading",
    client: str = "threading",
    *,
    bind: str | Sequence[str] | None = None,
    connect: ConnectOptions | None = None,
    **server_options: Unpack[ServingOptions],
) -> Serving[Any]:
    """A server of the service on event loop `backend`, with a client in the style `client`.

    `with` or `async with` returns the client once the lifespan has begun; the lifespan is over
    after the block. `client.server` is the server. Use `with` for blocking styles (threading,
    gevent), `async with` for the others.

    - `bind`: endpoints; the client connects to the first. By default one within this process, or
      with keys or libzmq a free port of 127.0.0.1.
    - `connect`: options of the client, such as its keys.

    Raises UsageError for an impossible combination, at once or on entering.
    """
    if client not in clients.names():
        clients.load(client)  # raises an error that lists the styles
    if bind is None:
        bind = _endpoint(server_options)
    server = Server(service, bind, backend=backend, **server_options)
    return Serving(server, client, connect or {})


def _endpoint(options: ServingOptions) -> str:
    own = transport.name_of(options.get("transport")) == "native" and options.get("context") is None
    if own and options.get("secret_key") is None:
        return f"inproc://ringback-testing-{next(_numbers)}"
    return "tcp://127.0.0.1:*"


class Serving(Generic[C]):
    """The context manager that `serving` returns."""

    def __init__(self, server: Server, style: str, options: Mapping[str, Any]) -> None:
        self._server = server
        self._style = style
        self._options = options
        self._client: Any = None
        self._background: Background | None = None

    def __enter__(self) -> C:
        self._check_blocking()
        if self._is_here():
            self._server.__enter__()
        else:
            self._background = self._new_background()
            self._background.begin()
            try:
                self._background.started.result()
            except BaseException:
                self._background.end()
                raise
        try:
            return self._connected()
        except BaseException:
            self._leave()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._client.close(now=error is not None)
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._background is None:
            self._server.__exit__(None, None, None)
        else:
            self._background.end()
            self._background.ended.result()

    async def __aenter__(self) -> C:
        self._check_awaited()
        if self._style == "asyncio" == self._server.backend:
            await self._server.__aenter__()
        elif self._style == "twisted" == self._server.backend:
            await self._server.startService()
        else:
            self._background = self._new_background()
            self._background.begin()
            try:
                await self._outcome(self._background.started)
            except BaseException:
                self._background.end()
                raise
        try:
            return self._connected()
        except BaseException:
            await self._leave_async()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._client.close(now=error is not None)
        finally:
            await self._leave_async()

    async def _leave_async(self) -> None:
        if self._background is not None:
            self._background.end()
            await self._outcome(self._background.ended)
        elif self._style == "asyncio":
            await self._server.__aexit__(None, None, None)
        else:
            await self._server.stopService()

    async def _outcome(self, done: Future[None]) -> None:
        """Await the future on this style's loop. Cancelling the wait does not cancel the future."""
        if self._style == "asyncio":
            await asyncio.shield(asyncio.wrap_future(done))
            return
        from twisted.internet import reactor
        from twisted.internet.defer import Deferred

        loop: Any = reactor
        waiting: Deferred[None] = Deferred(lambda _: None)

        def tell() -> None:
            if not waiting.called:
                error = done.exception()
                waiting.callback(None) if error is None else waiting.errback(error)

        done.add_done_callback(lambda _: loop.callFromThread(tell))
        await waiting

    def _connected(self) -> C:
        kind = clients.load(self._style)
        self._client = kind(self._server.endpoint, **self._options)
        self._client.server = self._server
        client: C = self._client
        return client

    def _check_blocking(self) -> None:
        """Raise UsageError if a `with` cannot provide this client of this server."""
        if self._style in ("asyncio", "twisted"):
            raise UsageError(
                f"a client on {self._style} is awaited: write `async with serving(...)`, or give "
                f"client='threading'"
            )
        if _is_patched():
            if self._style == "threading":
                raise UsageError("gevent has patched this program: give client='gevent'")
            if self._server.backend != "gevent":
                raise UsageError("gevent has patched this program: give backend='gevent'")
        if self._server.backend == "twisted" and reactor_runs_here():
            raise UsageError(
                "the reactor runs in this thread, and a `with` would block it: "
                "write `async with serving(..., client='twisted')`"
            )

    def _check_awaited(self) -> None:
        """Raise UsageError if an `async with` cannot provide this client here."""
        running = _is_running()
        if self._style in ("threading", "gevent"):
            raise UsageError(
                f"a client on {self._style} would block the loop of an `async with`: give "
                f"client='asyncio', or "
                "client='twisted' on the reactor"
            )
        if self._style == "asyncio" and not running:
            raise UsageError("client='asyncio' needs a running asyncio loop, as in asyncio.run()")
        if self._style == "twisted" and not (
            reactor_runs_here() or (reactor_will_run() and not running)
        ):
            raise UsageError("client='twisted' needs the reactor to run in this thread")
        if self._style == "asyncio" and self._server.backend == "twisted" and reactor_runs_here():
            raise UsageError(
                "the reactor runs in this thread: give client='twisted' for a server on twisted"
            )

    def _is_here(self) -> bool:
        """Whether the server's own `with` suits: it starts a thread, or shares the client's hub."""
        return self._server.backend == "threading" or (
            self._server.backend == "gevent" == self._style
        )

    def _new_background(self) -> Background:
        return (ReactorBackground if self._server.backend == "twisted" else Background)(
            self._server
        )


def _is_patched() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _is_running() -> bool:
    """Whether an asyncio loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
