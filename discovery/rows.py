"""What a registry holds: a row of a state store for each endpoint of each server, which is gone when its lease is over.

How it is named, written and read; who writes it is `announcement.py`, who reads it are `registry.py` and `listing.py`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from ..endpoints import checked, is_everywhere, port_of
from ..errors import UsageError
from ..state import SCHEMES, State, open_state
from .places import Place

# Where the rows are: behind it the service, then the instance.
PREFIX = "ringback.servers/"

# Seconds for which a server is believed to be there after its last word. It says one three times as often.
LEASE = 10.0

SERVING, DRAINING = "serving", "draining"

# Bytes of a service's name in the name of a row, at most.
_LONGEST = 512


class Announced(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What a server says of itself at one of its endpoints. Times are seconds since 1970, by its own clock."""

    service: str
    endpoint: str
    state: str = SERVING
    role: str = ""
    zone: str = ""
    weight: float = 1.0
    backend: str = ""
    version: str = ""
    host: str = ""
    process: int = 0
    since: float = 0.0
    renewed: float = 0.0
    lease: float = LEASE


def prefix_of(service: str | None) -> str:
    """With what the names of a service's rows begin; of all services' for None. (Quoted, so that none is within another's.)"""
    return PREFIX if service is None else f"{PREFIX}{quote(service, safe='')}/"


def checked_service(service: str) -> str:
    """Raises UsageError for what cannot be the name of a service in a registry."""
    if not isinstance(service, str) or not service or len(prefix_of(service)) > _LONGEST:
        raise UsageError(
            f"the name of a service in a registry is a short non-empty string, not {service!r:.100}"
        )
    return service


def read(value: Any) -> Announced | None:
    """What a row says; None where it cannot be understood, as by somebody else's hand."""
    try:
        row = msgspec.convert(value, Announced)
        endpoint = checked(row.endpoint)
    except (msgspec.ValidationError, UsageError):
        return None
    reachable = not (endpoint.startswith("inproc://") or is_everywhere(endpoint) or port_of(endpoint) == "*")
    return row if reachable else None


def opened(place: Place, *, create: bool = True) -> State:
    """The store of a registry, whose `service` is not the store's to know. Raises UsageError for what is no store, and Missing for one that
    is not there and is not to be made."""
    if place.scheme not in SCHEMES:
        raise UsageError(
            f"{place} is no registry: give the URL of a state store, such as valkey://host:6379/0 or sqlite:///file.db"
        )
    return open_state(place.without("service"), create=create)
