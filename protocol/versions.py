"""What a client has seen of the data of services that have replicas: nothing that it reads later is to be older (read your writes, and
monotonic reads: Terry and others, "Session Guarantees for Weakly Consistent Replicated Data", 1994)."""

from __future__ import annotations

from collections.abc import Mapping

# Services whose versions are kept: a server could name others without end.
MOST = 1000


class Versions:
    """The highest version seen of each service's data."""

    __slots__ = ("versions",)

    def __init__(self, versions: Mapping[str, int] | None = None) -> None:
        self.versions: dict[str, int] = dict(versions or {})

    def saw(self, versions: Mapping[str, int]) -> None:
        """Keep the highest of each."""
        mine = self.versions
        for service, version in versions.items():
            if version > mine.get(service, 0) and (service in mine or len(mine) < MOST):
                mine[service] = version
