"""RPyC: a server with a thread for each connection, and a connection for each calling thread.

Methods are looked up once for each connection: `connection.root.echo(...)` would ask the server
each time.
"""

from __future__ import annotations

import threading
from typing import Any

import rpyc
from rpyc.utils.server import ThreadedServer

from ..workloads.handlers import cpu, echo, io
from . import ready

LOOP = "threading"
METHODS = ("echo", "io", "cpu")
DIFFERENCE = "a connection a caller, a thread a connection"


class EchoService(rpyc.Service):  # type: ignore[misc]
    """The service; clients see its methods without their prefix."""

    exposed_echo, exposed_io, exposed_cpu = staticmethod(echo), staticmethod(io), staticmethod(cpu)


def serve(workers: int) -> None:  # noqa: ARG001 - a thread for each connection; ThreadPoolServer has a tenth of the speed
    server = ThreadedServer(EchoService(), hostname="127.0.0.1", port=0)
    server.listener.listen(
        server.backlog
    )  # start() does this too, but never returns, so ready() could not follow
    ready(f"{server.host}:{server.port}")
    server.start()


class Client:
    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._own = threading.local()

    def call(self, method: str, *args: Any) -> Any:
        own = getattr(self._own, "connection", None)
        if own is None:
            own = self._own.connection = _Connection(self._endpoint)
        return own.methods[method](*args)

    def close(self) -> None:
        del self._own  # closes the connections of all threads


class _Connection:
    """Closed by garbage collection when its thread ends."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.split(":")
        self.connection = rpyc.connect(host, int(port))
        self.methods = {method: getattr(self.connection.root, method) for method in METHODS}

    def __del__(self) -> None:
        self.connection.close()


connect = Client
