"""Workloads that are measured in several ways: what protects them, or speeds them up. Each way is a row of the table of workloads, and is
compared with the plain one, of the same arm, client and call style.

Knows names, and what is claimed of them; `counters` and `reads` have what the calls do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import asdict

from ..results import Consistency, Report, Result

# The way that all others are compared with, unless the kind has another.
PLAIN = "none"

_EVERYTHING = Consistency.__struct_fields__
_RACES = ("lost_updates", "stale_reads")
_WRITES = ("lost_updates", "duplicated_effects")


class Kind(NamedTuple):
    """A workload and its ways, each with what it keeps from going wrong. `field` is that of the results and, with two dashes, the option
    that picks them. All ways are compared with the `plain` one, and have up to so many `seconds` more each."""

    field: str
    workload: str
    ways: Mapping[str, tuple[str, ...]]
    plain: str = PLAIN
    seconds: float = 30.0

    @property
    def option(self) -> str:
        """As it is given on the command line."""
        return f"--{self.field}"

    def row(self, way: str) -> str:
        """The name of the workload, measured that way."""
        return self.workload if way == self.plain else f"{self.workload}-{way}"


COUNTER = Kind(
    "protect",
    "counter",
    {PLAIN: (), "lock": _RACES, "version": _RACES, "idempotency": _EVERYTHING},
)
READ = Kind(
    "optimise",
    "read",
    {PLAIN: _EVERYTHING, "cache": _WRITES, "async-io": _EVERYTHING, "balance": _EVERYTHING},
)
BALANCE = Kind(
    "policy",
    "balance",
    dict.fromkeys(
        ("round-robin", "least-in-flight", "two-choices", "peak-ewma", "default", "hedge"), _EVERYTHING
    ),
    plain="round-robin",
    seconds=90.0,
)
KINDS = (COUNTER, READ, BALANCE)

_OF = {kind.workload: kind for kind in KINDS}
_ROWS = {kind.row(way): (kind, way) for kind in KINDS for way in kind.ways}


def seconds(workload: str) -> float:
    """How much more time there is for that workload, where it is one more way to measure another."""
    return _ROWS[workload][0].seconds if workload in _ROWS else 0.0


def plain(workload: str) -> str:
    """The workload of which that is a way; any other is itself."""
    return _ROWS[workload][0].workload if workload in _ROWS else workload


def row(workload: str, way: str) -> str:
    """The name of the workload, measured that way."""
    return _OF[workload].row(way)


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


def measured(report: Report) -> list[Kind]:
    """The kinds of which the report has anything."""
    names = {plain(each.workload) for each in report.results}
    return [kind for kind in KINDS if kind.workload in names]


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
    """What went wrong in each way, or went to a slow server. It was counted, and so it is sure whatever else is."""
    if kind is BALANCE:
        yield from _spread(report)
    else:
        yield _wrong(report, kind)


def _spread(report: Report) -> Iterator[str]:
    found: dict[str, list[Result]] = {}
    for group in groups(report.results):
        for way, cell in group.cells.items() if group.kind is BALANCE else ():
            found.setdefault(way, []).extend([] if cell.balance is None else [cell])
    told = {
        way: _range([each.balance.slow_share for each in cells if each.balance])
        for way, cells in found.items()
        if cells
    }
    if told:
        servers = max(each.servers for cells in found.values() for each in cells)
        parts = "; ".join(f"{way} {part}" for way, part in told.items())
        yield f"What the slow one of {servers} servers was given of all calls of {BALANCE.workload}: {parts}."


def _range(parts: Sequence[float]) -> str:
    low, high = f"{min(parts):.1%}", f"{max(parts):.1%}"
    return low if low == high else f"{low} to {high}"


def _wrong(report: Report, kind: Kind) -> str:
    found: dict[str, list[Consistency]] = {}
    for group in groups(report.results):
        for way, cell in group.cells.items() if group.kind is kind else ():
            found.setdefault(way, []).extend([] if cell.consistency is None else [cell.consistency])
    told = [f"{way} {said(total(each)) or 'nothing'}" for way, each in found.items()]
    return f"What went wrong in {kind.workload}, on all arms and in all styles: {'; '.join(told)}."


def broken(result: Result) -> str:
    """What was to be kept from going wrong and did, in words: of a way what it promises, of all else everything."""
    if result.consistency is None:
        return ""
    kind, way = _ROWS.get(result.workload, (None, ""))
    kept = _EVERYTHING if kind is None else kind.ways[way]
    counts = asdict(result.consistency)
    return said(Consistency(**{name: counts[name] for name in kept}))
