"""A server's reports for metrics, `ringback.stats` and `ringback.describe`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ...backends.base import Loop
from ...handling import handled
from ...metrics.snapshot import ServerSnapshot
from ...protocol.messages import MethodFlags
from ...protocol.server import ServerMachine, Session
from ..declare.service import RESERVED, Service
from ..methods.table import MethodTable, ServedMethod
from .invocations.batches import BatchedCall
from .invocations.invocation import Invocation
from .observer import CallObserver


class Reports:
    """The reports of one server."""

    methods: Mapping[str, ServedMethod]

    def __init__(
        self, service: Service, loop: Loop, machine: ServerMachine, table: MethodTable
    ) -> None:
        self._service = service
        self._loop = loop
        self._machine = machine
        self._table = table
        self._began = time.monotonic()

    def report(self, snapshot: ServerSnapshot, observer: CallObserver) -> None:
        """Fill in a snapshot of the present state. Thread-safe."""
        self._table.report(snapshot)
        snapshot.clients = len(self._machine.sessions)
        flying = observer.in_flight()
        snapshot.in_flight = {
            name: flying[name] for name in self.methods if not name.startswith(RESERVED)
        }
        for name, served in self.methods.items():
            if served.cached is not None:
                snapshot.cache[name] = served.cached.outcomes()

    @property
    def calls(self) -> int:
        """Calls of the service's own methods that have ended."""
        served = self.methods.items()
        return sum(each.statistics.calls for name, each in served if not name.startswith(RESERVED))

    def stats(self) -> dict[str, Any]:
        """Statistics of this process: calls by method, queues, resources. Times in seconds."""
        in_flight = Counter(
            call.method.name
            for call in self._machine.calls()
            if isinstance(call, (Invocation, BatchedCall))
        )
        return {
            "service": self._service.name,
            "backend": self._loop.name,
            "process": os.getpid(),
            "seconds": time.monotonic() - self._began,
            "clients": len(self._machine.sessions),
            "in_flight": self._machine.in_flight.calls,
            **self._table.snapshot(),
            "methods": {
                name: served.statistics.snapshot()
                | {"in_flight": in_flight[name]}
                | ({} if served.cached is None else {"cache": served.cached.counts()})
                for name, served in self.methods.items()
            },
        }

    def described(
        self, visible: Callable[[Session], Mapping[str, MethodFlags] | None]
    ) -> Callable[[], dict[str, Any]]:
        """The handler of `ringback.describe`. It lists only methods that the caller may call."""

        def describe() -> dict[str, Any]:
            """Name, methods, signatures, docstrings and flags of this service."""
            call: Any = handled()
            seen = visible(call.session) or {}
            described = self._service.describe()
            return described | {
                "methods": [one for one in described["methods"] if one["name"] in seen]
            }

        return describe
