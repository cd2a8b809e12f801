"""`ringback servers`: lists the present contents of a registry, for people and programs."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ..errors import UsageError
from ..state import Missing
from .places import parsed
from .rows import Announced, checked_service, opened, prefix_of, read

_HEAD = ("service", "endpoint", "state", "role", "zone", "weight", "backend", "renewed")


def announced(url: str) -> list[Announced]:
    """The servers of the service in the URL, or of all services.
    Raises UsageError for an invalid registry, Unavailable if it does not respond."""
    if "://" not in url:
        raise UsageError(
            f"{url!r} is not a registry: give it as valkey://host:6379/0 or sqlite:///file.db"
        )
    place = parsed(url)
    service = place.options.get("service")
    prefix = prefix_of(None if service is None else checked_service(service))
    found: dict[str, Announced | None] = {}
    try:
        state = opened(place, create=False)
    except Missing as error:
        raise UsageError(
            f"there is no registry {place}: {error}; a server with --register creates it"
        ) from None
    with state:
        changes, since = state.changes_up_to(prefix, 0)
        while changes:
            found.update((each.key, None if each.deleted else read(each.value)) for each in changes)
            changes, since = state.changes_up_to(prefix, since)
    rows = [row for row in found.values() if row is not None]
    return sorted(rows, key=lambda row: (row.service, row.endpoint, row.since))


def as_data(rows: list[Announced]) -> list[dict[str, Any]]:
    """All data of each server, and `age`: seconds since its last renewal."""
    now = time.time()
    return [{**msgspec.structs.asdict(row), "age": round(_age(row, now), 3)} for row in rows]


def as_lines(rows: list[Announced]) -> list[str]:
    """A table with one line for each server under a heading; no lines without servers."""
    now = time.time()
    cells = [
        (
            row.service,
            row.endpoint,
            row.state,
            row.role or "-",
            row.zone or "-",
            f"{row.weight:g}",
            row.backend or "-",
            f"{_age(row, now):.1f} s ago",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(_HEAD, *cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (_HEAD, *cells)
    ]
    return lines if rows else []


def _age(row: Announced, now: float) -> float:
    """Seconds since its last renewal, by two clocks that may differ a little."""
    return max(0.0, now - row.renewed)
