"""Workloads that are measured in several ways: what protects them, or speeds them up. Each way is a row of the table of workloads, and is
compared with the plain one, of the same arm, client and call style.

Knows names, and what is claimed of them; `counters` and `reads` have what the calls do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import asdict

from ..results import Claim, Consistency, Report, Result

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
    title: str
    question: str
    plain: str = PLAIN

    def row(self, way: str) -> str:
        """The name of the workload, measured that way."""
        return self.workload if way == self.plain else f"{self.workload}-{way}"


COUNTER = Kind(
    "counter",
    {PLAIN: (), "lock": _RACES, "version": _RACES, "idempotency": _EVERYTHING},
    "What consistency costs",
    "What does each protection of counters that calls share cost, and what goes wrong without it? Lost are acknowledged updates that "
    "are not in the counters, duplicated are effects of calls sent twice that are in them twice, and stale are reads that show less "
    "than what was acknowledged before they began.",
)
READ = Kind(
    "read",
    {PLAIN: _EVERYTHING, "cache": _WRITES, "async-io": _EVERYTHING},
    "What speeds up reads",
    "What does each way to speed up calls that wait for a database give, and what does it give up? Stale are reads that show what was "
    "no longer so when they began.",
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


def measured(report: Report) -> list[Kind]:
    """The kinds of which the report has anything."""
    names = {plain(each.workload) for each in report.results}
    return [kind for kind in KINDS if kind.workload in names]


class Prices(NamedTuple):
    """What ways cost or give those who call in one style, by one client: claims by arm and way."""

    kind: Kind
    client: str
    style: str
    claims: dict[str, dict[str, Claim]]

    @property
    def ways(self) -> list[str]:
        """Those of which anything is claimed."""
        return [way for way in self.kind.ways if any(way in claims for claims in self.claims.values())]


def prices(report: Report) -> list[Prices]:
    """All that are claimed."""
    found: dict[tuple[str, str, str], Prices] = {}
    for each in report.claims:
        if each.of_workloads and each.workload in _ROWS:
            kind, way = _ROWS[each.workload]
            key = kind.workload, each.client, each.style
            claims = found.setdefault(key, Prices(kind, *key[1:], {})).claims
            claims.setdefault(each.arm, {})[way] = each
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


def counted(report: Report, kind: Kind) -> Iterator[str]:
    """What went wrong in each way. It was counted, and so it is sure whatever else is."""
    found: dict[str, list[Consistency]] = {}
    for group in groups(report.results):
        for way, cell in group.cells.items() if group.kind is kind else ():
            found.setdefault(way, []).extend([] if cell.consistency is None else [cell.consistency])
    told = [f"{way} {said(total(each)) or 'nothing'}" for way, each in found.items()]
    yield f"What went wrong in {kind.workload}, on all arms and in all styles: {'; '.join(told)}."


def broken(result: Result) -> str:
    """What was to be kept from going wrong and did, in words: of a way what it promises, of all else everything."""
    if result.consistency is None:
        return ""
    kind, way = _ROWS.get(result.workload, (None, ""))
    kept = _EVERYTHING if kind is None else kind.ways[way]
    counts = asdict(result.consistency)
    return said(Consistency(**{name: counts[name] for name in kept}))
