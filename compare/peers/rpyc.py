"""RPyC: a server with a thread for each connection, and a connection for each thread that calls.

A method is looked up once a connection: `connection.root.echo(...)` would ask the server for it each time.
"""

from __future__ import annotations

import select
import threading
from typing import Any

import rpyc
from rpyc.utils.server import ThreadedServer

from ..workloads.handlers import cpu, echo, io
from . import Callback, Errback, ready, settle

LOOP = "threading"
METHODS = ("echo", "io", "cpu")
DIFFERENCE = (
    "a connection a caller, a thread a connection; what is fired shares one connection and is served in turn"
)


class Service(rpyc.Service):  # type: ignore[misc]
    """What is called; its methods lose their prefix."""

    exposed_echo, exposed_io, exposed_cpu = staticmethod(echo), staticmethod(io), staticmethod(cpu)


def serve(workers: int) -> None:  # noqa: ARG001 - as many threads as connections; its ThreadPoolServer is a tenth as fast
    """Serve until the process is ended."""
    server = ThreadedServer(Service(), hostname="127.0.0.1", port=0)
    server.listener.listen(server.backlog)  # as start() does, but that does not return to tell of it
    ready(f"{server.host}:{server.port}")
    server.start()


class Client:
    """A connection for each thread that calls; another, in a thread of its own, for what is fired."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._own = threading.local()
        self._shared = _Connection(endpoint)
        self._fired = {name: rpyc.async_(method) for name, method in self._shared.methods.items()}
        # For add_callback, which loses a reply that another thread takes in meanwhile.
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def call(self, method: str, *args: Any) -> Any:
        own = getattr(self._own, "connection", None)
        if own is None:
            own = self._own.connection = _Connection(self._endpoint)
        return own.methods[method](*args)

    def fire(self, method: str, *args: Any, callback: Callback, errback: Errback) -> None:
        with self._lock:
            result = self._fired[method](*args)
            result.add_callback(lambda result: settle(lambda: result.value, callback, errback))

    def close(self) -> None:
        with self._lock:
            self._shared.connection.close()
        self._thread.join()
        del self._own  # and with it the connections of all threads

    def _run(self) -> None:
        """What RPyC's BgServingThread does, but with the lock, and without its sleep between any two replies."""
        connection = self._shared.connection
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        while not connection.closed:
            poll.poll()
            with self._lock:
                connection.poll_all()


class _Connection:
    """Closed when nobody has it any more, so when its thread ends."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.split(":")
        self.connection = rpyc.connect(host, int(port))
        self.methods = {method: getattr(self.connection.root, method) for method in METHODS}

    def __del__(self) -> None:
        self.connection.close()


connect = Client
