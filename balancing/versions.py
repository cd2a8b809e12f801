"""What a client has seen of the data of services that have replicas: nothing that it reads later is to be older (read your writes, and
monotonic reads: Terry and others, "Session Guarantees for Weakly Consistent Replicated Data", 1994)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

# Services whose versions are kept: a server could name others without end.
MOST = 1000


class SeenVersions(Protocol):
    """Whose reads are to be no older than what it has seen: `versions` has that, by service."""

    @property
    def versions(self) -> dict[str, int] | None: ...

    def saw(self, versions: Mapping[str, int]) -> None:
        """Keep the highest of each."""


def learn(known: dict[str, int], versions: Mapping[str, int]) -> None:
    """Keep the highest of each."""
    for service, version in versions.items():
        if version > known.get(service, 0) and (service in known or len(known) < MOST):
            known[service] = version


class Versions:
    """The highest version seen of each service's data."""

    __slots__ = ("versions",)

    def __init__(self, versions: Mapping[str, int] | None = None) -> None:
        self.versions: dict[str, int] = dict(versions or {})

    def saw(self, versions: Mapping[str, int]) -> None:
        """Keep the highest of each."""
        learn(self.versions, versions)


class Both:
    """Two who have seen something: nothing is to be older than what either has, and both are told what is seen."""

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
