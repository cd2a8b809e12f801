"""A registry as a client sees it: the rows of one service in a state store, looked at twice a second.

One look is one short question: what has changed since the last one. Servers say that they are there three times in a lease, so that whoever
has been silent for half of it is looked at alone: only the store can tell whether that lease is over.
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

# Seconds from one look to the next.
PAUSE = 0.5


class _Heard(NamedTuple):
    """A row, and when it was last heard of, by this process's clock."""

    row: Announced
    when: float


class Registry(Source):
    """The servers that have announced themselves, but for those that drain."""

    def __init__(self, place: Place) -> None:
        if "service" not in place.options:
            raise UsageError(f"{place}: whose servers? Name the service, with ?service=NAME")
        self._service = checked_service(place.options["service"])
        self._url = place
        self._opened: State | None = None
        with suppress(Missing):
            self._opened = opened(place, create=False)
        self._prefix = prefix_of(self._service)
        self._rows: dict[str, _Heard] = {}
        self._since = 0  # the version up to which all is known; 0 where all is to be read
        self._answered = True
        super().__init__(
            f"{place}?service={self._service}", PAUSE, f"the registry {place} has not been asked yet"
        )

    def _find(self) -> list[str]:
        try:
            self._hear()
            if not self._answered:
                self._forgive()
            self._look_after_the_silent()
        except Missing:
            raise errors.Unavailable(f"there is no registry {self._url} yet", started=False) from None
        except UsageError as error:
            raise errors.Unavailable(f"the registry cannot be read: {error}", started=False) from None
        except errors.CallError as error:
            self._answered = False
            raise errors.Unavailable(f"the registry does not answer: {error}", started=False) from None
        self._answered = True
        return sorted({row.endpoint for row, _ in self._rows.values() if row.state != DRAINING})

    def _none(self) -> str:
        return f"no server of {self._service!r} is announced"

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def _state(self) -> State:
        """The store. Raises Missing as long as no server has made it."""
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
            if not (complete and found):  # else there may be more than are told at once
                return

    def _forgive(self) -> None:
        """After an outage, in which leases ran out as nobody could renew them: time for all to say that they are there."""
        now = time.monotonic()
        self._rows = {key: _Heard(row, now) for key, (row, _) in self._rows.items()}

    def _look_after_the_silent(self) -> None:
        """Give up those whose leases are over."""
        now = time.monotonic()
        silent = [key for key, (row, when) in self._rows.items() if now - when > row.lease / 2]
        if not silent:
            return
        found, _ = self._state.engine.read([row_of(key) for key in silent], self._state.patience())
        for key, row in zip(silent, found, strict=True):
            if row is None:
                del self._rows[key]
        if not self._rows:
            self._since = 0  # a store that came back empty may count from below what was reached
