"""A server's word to a registry that it is there: a row for each endpoint, under a lease that a native thread renews. No loop waits for it,
and none that is busy lets a lease run out.

A store that does not answer keeps no server from serving: it is told when it is back.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from queue import Empty
from typing import Any

from msgspec.structs import replace

from .. import errors
from ..backends import native
from ..errors import UsageError
from ..state.engines.off_the_hub import pause
from ..version import __version__
from . import rows
from .places import parsed

log = logging.getLogger("ringback.discovery")

# Seconds from one try to the next, where the store does not answer.
_AGAIN = 0.5
# Seconds that the end of a server waits for its rows to be removed.
_FAREWELL = 1.0


class Announcement:
    """One server in the registry at that URL. `start` when it answers calls, `draining` when it is to end, and `close`.

    `lease`: seconds for which the rows outlive a server that was killed. Raises UsageError for what is no registry.
    """

    def __init__(
        self,
        url: str,
        service: str,
        *,
        role: str = "",
        zone: str = "",
        weight: float = 1.0,
        backend: str = "",
        lease: float | None = None,
    ) -> None:
        place = parsed(url)
        if "service" in place.options:
            raise UsageError(
                f"{place}: a server is registered at the store alone, and its service named apart: leave out ?service="
            )
        self.place = str(place)
        self._state = rows.opened(place)
        self._about = rows.Announced(
            service=rows.checked_service(service),
            endpoint="",
            role=role,
            zone=zone,
            weight=weight,
            backend=backend,
            version=__version__,
            host=socket.gethostname(),
            process=os.getpid(),
            lease=rows.LEASE if lease is None else lease,
        )
        self._prefix = f"{rows.prefix_of(service)}{os.urandom(8).hex()}"
        self._rows: dict[str, rows.Announced] = {}
        self._told: native.SimpleQueue[None] = native.SimpleQueue()
        self._leaving = False
        self._closing = False
        self._running: Any = None

    def start(self, endpoints: Sequence[str]) -> None:
        """Tell that calls are answered at these endpoints, as clients reach them; from now on, until it drains."""
        if self._leaving:
            return
        now = time.time()
        for number, endpoint in enumerate(endpoints):
            self._rows[f"{self._prefix}-{number}"] = replace(self._about, endpoint=endpoint, since=now)
        self._running = native.start_thread(self._run)

    def draining(self) -> None:
        """Remove the rows, now, so that no client comes any more; it does not wait."""
        self._leaving = True
        self._told.put(None)

    def close(self) -> None:
        """Remove the rows if they are still there, and wait for that as long as it takes a store that answers."""
        self._leaving = self._closing = True
        self._told.put(None)
        if self._running is None:
            self._state.close()
            return
        end = time.monotonic() + _FAREWELL
        while self._running.locked() and time.monotonic() < end:
            pause(0.001)

    def _run(self) -> None:
        answers, tried = True, False
        try:
            while not self._leaving:
                answers, tried = self._tell(answers), True
                self._rest(self._about.lease / 3 if answers else _AGAIN)
            answers = True
            while tried and not (answers := self._remove(answers)) and not self._closing:
                self._rest(_AGAIN)
        finally:
            self._state.close()

    def _rest(self, seconds: float) -> None:
        try:
            self._told.get(timeout=seconds)
        except Empty:
            pass

    def _tell(self, answered: bool) -> bool:
        """Write the rows, all or none; whether the store has answered. What changes in that is logged."""
        now = time.time()
        try:
            with self._state.transaction() as tx:
                for key, row in self._rows.items():
                    tx.put(key, replace(row, renewed=now), ttl=row.lease)
        except errors.CallError as error:
            if answered:
                log.warning("clients cannot be told at %s that this server is there: %s", self.place, error)
            return False
        if not answered:
            log.info("clients are told at %s that this server is there", self.place)
        return True

    def _remove(self, answered: bool) -> bool:
        """Remove the rows; whether that was done."""
        try:
            with self._state.transaction() as tx:
                for key in self._rows:
                    tx.delete(key)
        except errors.CallError as error:
            if answered:
                log.warning("clients cannot be told at %s that this server ends: %s", self.place, error)
            return False
        return True
