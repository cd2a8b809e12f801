"""The rows of a registry: one in a state store for each endpoint of each server.

A row is gone when its lease is over. This file names, encodes and decodes rows. `announcement.py`
writes them, `registry.py` and `listing.py` read them.
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

# Prefix of the rows' keys; the service and the instance follow.
PREFIX = "ringback.servers/"

# Seconds for which a server counts as present after its last renewal. It renews three times as
# often.
LEASE = 10.0

SERVING, DRAINING = "serving", "draining"

# Maximum characters of the prefix of a service's rows.
_LONGEST = 512


class Announced(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A server's announcement of one of its endpoints.
    Times are seconds since 1970 by its own clock."""

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
    """The prefix of a service's keys, or of all services' for None.
    (Quoted, so that no prefix contains another.)"""
    return PREFIX if service is None else f"{PREFIX}{quote(service, safe='')}/"


def checked_service(service: str) -> str:
    """Check the name of a service in a registry. Raises UsageError."""
    if not isinstance(service, str) or not service or len(prefix_of(service)) > _LONGEST:
        raise UsageError(
            f"the name of a service in a registry must be a short non-empty string, not "
            f"{service!r:.100}"
        )
    return service


def read(value: Any) -> Announced | None:
    """Decode a row; None for one that is invalid or written by another program."""
    try:
        row = msgspec.convert(value, Announced)
        endpoint = checked(row.endpoint)
    except (msgspec.ValidationError, UsageError):
        return None
    reachable = not (
        endpoint.startswith("inproc://") or is_everywhere(endpoint) or port_of(endpoint) == "*"
    )
    return row if reachable else None


def opened(place: Place, *, create: bool = True) -> State:
    """Open the store of a registry; the store does not see the option `service`.
    Raises UsageError for an invalid store, and Missing if it does not exist and `create` is False.
    """
    if place.scheme not in SCHEMES:
        raise UsageError(
            f"{place} is not a registry: give the URL of a state store, "
            "such as valkey://host:6379/0 or sqlite:///file.db"
        )
    return open_state(place.without("service"), create=create)
