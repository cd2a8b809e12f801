"""Pyro5: a daemon with a thread for each connection, and a proxy, which has its connection, for each thread that calls.

By marshal, the fastest of its serializers, which keeps bytes; serpent, the default, makes text of them.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import Pyro5.api
from Pyro5 import config

from ..workloads.handlers import cpu
from . import IO_SECONDS, ready

LIBRARY = "Pyro5"
LOOP = "threading"
METHODS = ("echo", "io", "cpu")
DIFFERENCE = (
    "a connection a caller, a thread a connection; marshal, as its default serializer does not keep bytes"
)


class Service:
    """What is called."""

    def echo(self, value: bytes) -> bytes:
        return value

    def io(self, value: bytes) -> bytes:
        time.sleep(IO_SECONDS)
        return value

    def cpu(self, start: int, steps: int) -> int:
        return cpu(start, steps)


def serve(workers: int) -> None:
    """Serve until the process is ended."""
    config.SOCK_NODELAY = True
    config.THREADPOOL_SIZE_MIN = workers
    # What connects when all threads have a connection is denied: room for callers that follow on others.
    config.THREADPOOL_SIZE = 2 * workers
    daemon = Pyro5.api.Daemon(host="127.0.0.1", port=0)
    daemon.register(Pyro5.api.expose(Service)(), "peer")
    ready(daemon.locationStr)
    daemon.requestLoop()


class Client:
    """A proxy for each thread that calls; its connection is closed when the thread ends."""

    def __init__(self, endpoint: str) -> None:
        self._uri = f"PYRO:peer@{endpoint}"
        self._own = threading.local()

    def call(self, method: str, *args: Any) -> Any:
        proxy = getattr(self._own, "proxy", None)
        if proxy is None:
            proxy = self._own.proxy = Pyro5.api.Proxy(self._uri)
        return getattr(proxy, method)(*args)

    def close(self) -> None:
        del self._own  # and with it the proxies of all threads


def connect(endpoint: str, callers: int) -> Client:  # noqa: ARG001 - each thread connects at its first call
    """A client for threads."""
    config.SOCK_NODELAY = True
    config.SERIALIZER = "marshal"
    return Client(endpoint)
