"""The versions of replicated services' data that a client has seen: no later read may be older.

These are read your writes and monotonic reads (Terry and others, "Session Guarantees for Weakly
Consistent Replicated Data", 1994).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

# Maximum services whose versions are kept: a server could name others without end.
MOST = 1000


class SeenVersions(Protocol):
    """A session whose reads must not be older than what it has seen: `versions`, by service."""

    @property
    def versions(self) -> dict[str, int] | None: ...

    def saw(self, versions: Mapping[str, int]) -> None:
        """Keep the highest version of each service."""


def learn(known: dict[str, int], versions: Mapping[str, int]) -> None:
    """Keep the highest version of each service."""
    for service, version in versions.items():
        if version > known.get(service, 0) and (service in known or len(known) < MOST):
            known[service] = version


class Versions:
    """The highest version seen of each service's data."""

    __slots__ = ("versions",)

    def __init__(self, versions: Mapping[str, int] | None = None) -> None:
        self.versions: dict[str, int] = dict(versions or {})

    def saw(self, versions: Mapping[str, int]) -> None:
        """Keep the highest version of each service."""
        learn(self.versions, versions)


class Both:
    """Two sessions at once: reads are no older than either has seen; both record new versions."""

    __slots__ = ("_one", "_other")

    def __init__(self, one: SeenVersions, other: SeenVersions) -> None:
        self._one, self._other = one, other

    @property
    def versions(self) -> dict[str, int]:
        seen = Versions(self._one.versions)
        seen.saw(dict(self._other.versions or {}))
        return seen.versions

    def saw(self, versions: Mapping[str, int]) -> None:
        self._one.saw(versions)
        self._other.saw(versions)
