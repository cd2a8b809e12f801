"""zerorpc: a server with a pool of greenlets, and one client that all greenlets share.

Heartbeats are off: each call would have its own at both ends.
"""

from __future__ import annotations

from typing import Any

import gevent
import zerorpc

from ..workloads.handlers import cpu, echo, io
from . import Callback, Errback, ready, settle

LOOP = "gevent"
METHODS = ("echo", "io", "cpu")
DIFFERENCE = "a buffered channel with two greenlets for each call at either end; heartbeats off"


def serve(workers: int) -> None:
    server = zerorpc.Server({"echo": echo, "io": io, "cpu": cpu}, pool_size=workers, heartbeat=None)
    [bound] = server.bind("tcp://127.0.0.1:*")
    ready(bound.addr.removeprefix("tcp://"))
    server.run()


class Client:
    """One client for all greenlets: replies belong to channels."""

    def __init__(self, endpoint: str) -> None:
        self._client = zerorpc.Client(f"tcp://{endpoint}", heartbeat=None)

    def call(self, method: str, *args: Any) -> Any:
        return self._client(method, *args)

    def fire(self, method: str, *args: Any, callback: Callback, errback: Errback) -> None:
        result = self._client(method, *args, **{"async": True})
        # A greenlet, as the result's own callbacks run in the hub, which must not block, and the
        # callback may make a call, which blocks.
        gevent.spawn(settle, result.get, callback, errback)

    def close(self) -> None:
        self._client.close()


connect = Client
