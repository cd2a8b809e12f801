"""Announces a server in a registry: one row for each endpoint, under a lease.

A native thread renews the lease. No loop waits for it, and a busy loop lets no lease expire. If the
store does not respond, the server keeps serving; the thread announces it once the store is back.
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

# Seconds between two attempts while the store does not respond.
_AGAIN = 0.5
# Maximum seconds that a stopping server waits for the removal of its rows.
_FAREWELL = 1.0


class Announcement:
    """One server in the registry at that URL.

    Call `start` when it answers calls, `draining` when it stops, and `close` at the end. `lease`:
    seconds for which the rows outlive a killed server. Raises UsageError for an invalid registry.
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
            raise UsageError(f"{place}: leave out ?service=: a server registers its own service")
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
        """Announce these endpoints, as clients reach them, until the server drains."""
        if self._leaving:
            return
        now = time.time()
        for number, endpoint in enumerate(endpoints):
            self._rows[f"{self._prefix}-{number}"] = replace(
                self._about, endpoint=endpoint, since=now
            )
        self._running = native.start_thread(self._run)

    def draining(self) -> None:
        """Remove the rows now, without waiting, so that no more clients come."""
        self._leaving = True
        self._told.put(None)

    def close(self) -> None:
        """Remove the remaining rows, and wait for this at most one second."""
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
        """Write all rows or none.
        Returns whether the store responded, and logs a change of that."""
        now = time.time()
        try:
            with self._state.transaction() as tx:
                for key, row in self._rows.items():
                    tx.put(key, replace(row, renewed=now), ttl=row.lease)
        except errors.CallError as error:
            if answered:
                log.warning("cannot announce this server in the registry %s: %s", self.place, error)
            return False
        if not answered:
            log.info("this server is announced in the registry %s", self.place)
        return True

    def _remove(self, answered: bool) -> bool:
        """Remove the rows. Returns whether it succeeded."""
        try:
            with self._state.transaction() as tx:
                for key in self._rows:
                    tx.delete(key)
        except errors.CallError as error:
            if answered:
                log.warning("cannot remove this server from the registry %s: %s", self.place, error)
            return False
        return True
