"""A client's view of a registry: the rows of one service in a state store, polled twice a second.

One poll is one short query for the changes since the last one. Servers renew their rows three times
in a lease. So the client checks a row by itself only if it is silent for half a lease: only the
store knows whether the lease is over.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import NamedTuple

from .. import errors
from ..errors import UsageError
from ..state import Missing, State
from ..state.values import row_of
from .places import Place
from .rows import DRAINING, Announced, checked_service, opened, prefix_of, read
from .source import Source

# Seconds between two polls.
PAUSE = 0.5


class _Heard(NamedTuple):
    """A row, and the time of its last change by this process's clock."""

    row: Announced
    when: float


class Registry(Source):
    """The announced servers that are not draining."""

    def __init__(self, place: Place) -> None:
        if "service" not in place.options:
            raise UsageError(
                f"{place}: the registry needs the name of a service: add ?service=NAME"
            )
        self._service = checked_service(place.options["service"])
        self._url = place
        self._opened: State | None = None
        with suppress(Missing):
            self._opened = opened(place, create=False)
        self._prefix = prefix_of(self._service)
        self._rows: dict[str, _Heard] = {}
        self._since = 0  # the version up to which all rows are known; 0 to read all
        self._answered = True
        super().__init__(
            f"{place}?service={self._service}",
            PAUSE,
            f"the registry {place} has not been polled yet",
        )

    def _find(self) -> list[str]:
        try:
            self._hear()
            if not self._answered:
                self._forgive()
            self._look_after_the_silent()
        except Missing:
            raise errors.Unavailable(
                f"there is no registry {self._url} yet", started=False
            ) from None
        except UsageError as error:
            raise errors.Unavailable(
                f"the registry cannot be read: {error}", started=False
            ) from None
        except errors.CallError as error:
            self._answered = False
            raise errors.Unavailable(
                f"the registry does not answer: {error}", started=False
            ) from None
        self._answered = True
        return sorted({row.endpoint for row, _ in self._rows.values() if row.state != DRAINING})

    def _none(self) -> str:
        return f"no server of {self._service!r} is announced"

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def _state(self) -> State:
        """The store. Raises Missing until a server has created it."""
        if self._opened is None:
            self._opened = opened(self._url, create=False)
        return self._opened

    def _hear(self) -> None:
        complete = self._since == 0
        while True:
            found, self._since = self._state.changes_up_to(self._prefix, self._since)
            now = time.monotonic()
            for change in found:
                row = None if change.deleted else read(change.value)
                if row is None:
                    self._rows.pop(change.key, None)
                else:
                    self._rows[change.key] = _Heard(row, now)
            if not (complete and found):  # a full read may need several steps
                return

    def _forgive(self) -> None:
        """Give all rows new time after an outage, in which no server could renew its lease."""
        now = time.monotonic()
        self._rows = {key: _Heard(row, now) for key, (row, _) in self._rows.items()}

    def _look_after_the_silent(self) -> None:
        """Remove the rows whose leases are over."""
        now = time.monotonic()
        silent = [key for key, (row, when) in self._rows.items() if now - when > row.lease / 2]
        if not silent:
            return
        found, _ = self._state.engine.read([row_of(key) for key in silent], self._state.patience())
        for key, row in zip(silent, found, strict=True):
            if row is None:
                del self._rows[key]
        if not self._rows:
            self._since = 0  # a store that came back empty may count from a lower version
