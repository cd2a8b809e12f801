"""Workloads that are measured in several ways: what protects them, or speeds them up. Each way is a row of the table of workloads, and is
compared with the plain one, of the same arm, client and call style.

Knows names, and what is claimed of them; `counters` and `reads` have what the calls do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import asdict

from ..results import Consistency, Result

# The way that all others are compared with.
PLAIN = "none"

# How much more time there is for each other way.
SECONDS = 30.0

_EVERYTHING = Consistency.__struct_fields__
_RACES = ("lost_updates", "stale_reads")
_WRITES = ("lost_updates", "duplicated_effects")


class Kind(NamedTuple):
    """A workload and its ways, each with what it keeps from going wrong. All are compared with the `plain` one."""

    workload: str
    ways: Mapping[str, tuple[str, ...]]
    plain: str = PLAIN

    def row(self, way: str) -> str:
        """The name of the workload, measured that way."""
        return self.workload if way == self.plain else f"{self.workload}-{way}"


COUNTER = Kind(
    "counter",
    {PLAIN: (), "lock": _RACES, "version": _RACES, "idempotency": _EVERYTHING},
)
READ = Kind(
    "read",
    {PLAIN: _EVERYTHING, "cache": _WRITES, "async-io": _EVERYTHING},
)
KINDS = (COUNTER, READ)

_ROWS = {kind.row(way): (kind, way) for kind in KINDS for way in kind.ways}


def plain(workload: str) -> str:
    """The workload of which that is a way; any other is itself."""
    return _ROWS[workload][0].workload if workload in _ROWS else workload


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """These workloads, each once: with all its ways, or, where one way is named, that beside the plain one."""
    found: list[str] = []
    for name in names:
        kind, way = _ROWS.get(name, (None, PLAIN))
        if kind is None:
            found.append(name)
        else:
            found += map(kind.row, kind.ways if way == kind.plain else (kind.plain, way))
    return tuple(dict.fromkeys(found))


def known(workload: str) -> tuple[Kind, str]:
    """The kind and the way that this row of the table is."""
    return _ROWS[workload]


def way(workload: str, of: Kind) -> str | None:
    """The way in which that workload is measured, if it is of that kind."""
    kind, way = _ROWS.get(workload, (None, None))
    return way if kind is of else None


# What was measured


class Group(NamedTuple):
    """The cells of one arm, client and call style, by the way they were measured."""

    kind: Kind
    client: str
    style: str
    arm: str
    cells: dict[str, Result]


def groups(results: Iterable[Result]) -> list[Group]:
    """All that were measured in any way, in the order of the results."""
    found: dict[tuple[str, str, str, str], Group] = {}
    for each in results:
        if each.workload in _ROWS:
            kind, way = _ROWS[each.workload]
            key = kind.workload, each.client, each.style, each.arm
            found.setdefault(key, Group(kind, *key[1:], {})).cells[way] = each
    return list(found.values())


# What went wrong


def total(found: Iterable[Consistency]) -> Consistency:
    """All of them together."""
    rows = [asdict(each) for each in found]
    return Consistency(**{name: sum(each[name] for each in rows) for name in _EVERYTHING})


def said(found: Consistency) -> str:
    """In words; empty where nothing went wrong."""
    counts = asdict(found)
    return ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in _EVERYTHING if counts[name])


def broken(result: Result) -> str:
    """What was to be kept from going wrong and did, in words: of a way what it promises, of all else everything."""
    if result.consistency is None:
        return ""
    kind, way = _ROWS.get(result.workload, (None, ""))
    kept = _EVERYTHING if kind is None else kind.ways[way]
    counts = asdict(result.consistency)
    return said(Consistency(**{name: counts[name] for name in kept}))
