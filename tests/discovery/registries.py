"""What is watched, and how a registry is named by those who look."""

from __future__ import annotations

from processes import eventually
from ringback.discovery import Source


class Watched:
    """A source that has been started, and the lists that it has told; that the first look found
    none is told apart.
    """

    def __init__(self, source: Source | None) -> None:
        assert source is not None
        self.source = source
        self.lists: list[list[str]] = []
        self.none_at_first = False
        source.start(self._told)

    def _told(self, endpoints: list[str]) -> None:
        if endpoints:
            self.lists.append(endpoints)
        else:
            assert not self.lists
            assert not self.none_at_first
            self.none_at_first = True

    def until(self, *endpoints: str) -> None:
        """Wait until these are known."""
        eventually(lambda: self.lists and self.lists[-1] == sorted(endpoints))


def of_service(url: str, service: str = "calc") -> str:
    """The same registry as clients of the service know it."""
    return f"{url}{'&' if '?' in url else '?'}service={service}"
