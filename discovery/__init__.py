"""Finds the servers of a service: by names with several addresses, or in registries.

Servers announce themselves in a registry (`announcement.py`). A client watches a `Source`, which
`source_of` makes from an address given to `connect`.
"""

from __future__ import annotations

from ..endpoints import checked
from ..errors import UsageError
from ..state import SCHEMES
from .places import parsed
from .source import Source

_ENDPOINTS = ("tcp", "ipc", "inproc")


def source_of(place: str) -> Source | None:
    """The source of servers for an address, or None for an endpoint.
    Raises UsageError for an invalid address. `dns://NAME:PORT` (`?refresh=SECONDS`, default 10) is
    a name; the URL of a state store with `?service=NAME` is a registry."""
    if not isinstance(place, str) or "://" not in place:
        raise UsageError(_neither(place))
    scheme = place.partition("://")[0]
    if scheme in _ENDPOINTS:
        checked(place)
        return None
    if scheme == "dns":
        from .dns import Name

        return Name(parsed(place))
    if scheme in SCHEMES:
        from .registry import Registry

        return Registry(parsed(place))
    raise UsageError(_neither(place))


def _neither(place: object) -> str:
    return (
        f"{place!r} is not an address of servers: give an endpoint, as tcp://127.0.0.1:5555 or ipc:///path; "
        "a name, as dns://host:5555; "
        "or a registry, as valkey://host:6379/0?service=name or sqlite:///file.db?service=name"
    )


__all__ = ["Source", "source_of"]
