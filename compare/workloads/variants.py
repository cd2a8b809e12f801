"""Workloads with several variants: protections of a counter, and faster ways to read a value.

Each variant is a row of the table of workloads. It is compared with the plain variant of the same
arm, client and call style. This module knows names and promises; `counters` and `reads` make the
calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import asdict

from ..results import Consistency, Result

# The variant that all others are compared with.
PLAIN = "none"

# Seconds added to the run's time for each other variant.
SECONDS = 30.0

_EVERYTHING = Consistency.__struct_fields__
_RACES = ("lost_updates", "stale_reads")
_WRITES = ("lost_updates", "duplicated_effects")


class VariedWorkload(NamedTuple):
    """A workload and its variants, each with the fields of `Consistency` that it keeps at 0.

    All other variants are compared with the `plain` one.
    """

    workload: str
    variants: Mapping[str, tuple[str, ...]]
    plain: str = PLAIN

    def row(self, variant: str) -> str:
        """The variant's name in the table of workloads."""
        return self.workload if variant == self.plain else f"{self.workload}-{variant}"


COUNTER = VariedWorkload(
    "counter",
    {PLAIN: (), "lock": _RACES, "version": _RACES, "idempotency": _EVERYTHING},
)
READ = VariedWorkload(
    "read",
    {PLAIN: _EVERYTHING, "cache": _WRITES, "async-io": _EVERYTHING},
)
VARIED = (COUNTER, READ)

_ROWS = {varied.row(variant): (varied, variant) for varied in VARIED for variant in varied.variants}


def plain(workload: str) -> str:
    """The plain workload of a variant; any other workload is returned as it is."""
    return _ROWS[workload][0].workload if workload in _ROWS else workload


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """These workloads, each once: a varied one with all variants, a variant with the plain one."""
    found: list[str] = []
    for name in names:
        varied, variant = _ROWS.get(name, (None, PLAIN))
        if varied is None:
            found.append(name)
        else:
            chosen = varied.variants if variant == varied.plain else (varied.plain, variant)
            found += map(varied.row, chosen)
    return tuple(dict.fromkeys(found))


def known(workload: str) -> tuple[VariedWorkload, str]:
    """The varied workload of this row, and its variant."""
    return _ROWS[workload]


def variant(workload: str, of: VariedWorkload) -> str | None:
    """The variant that this row is; None if it belongs to another workload."""
    varied, variant = _ROWS.get(workload, (None, None))
    return variant if varied is of else None


# Results


class Group(NamedTuple):
    """The cells of one arm, client and call style, by variant."""

    varied: VariedWorkload
    client: str
    style: str
    arm: str
    cells: dict[str, Result]


def groups(results: Iterable[Result]) -> list[Group]:
    """The results of varied workloads, grouped, in the order of the results."""
    found: dict[tuple[str, str, str, str], Group] = {}
    for each in results:
        if each.workload in _ROWS:
            varied, variant = _ROWS[each.workload]
            key = varied.workload, each.client, each.style, each.arm
            found.setdefault(key, Group(varied, *key[1:], {})).cells[variant] = each
    return list(found.values())


# Inconsistencies


def total(found: Iterable[Consistency]) -> Consistency:
    """The sum of each field."""
    rows = [asdict(each) for each in found]
    return Consistency(**{name: sum(each[name] for each in rows) for name in _EVERYTHING})


def described(found: Consistency) -> str:
    """The counts in words; empty if nothing went wrong."""
    counts = asdict(found)
    return ", ".join(
        f"{counts[name]:,} {name.replace('_', ' ')}" for name in _EVERYTHING if counts[name]
    )


def broken(result: Result) -> str:
    """The broken promises of the cell, in words.

    A workload without variants promises everything.
    """
    if result.consistency is None:
        return ""
    varied, variant = _ROWS.get(result.workload, (None, ""))
    promised = _EVERYTHING if varied is None else varied.variants[variant]
    counts = asdict(result.consistency)
    return described(Consistency(**{name: counts[name] for name in promised}))
