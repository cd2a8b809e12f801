"""What a cell is called, wherever it is named: no two of a report have the same name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...clients import names as styles
from ..load.plan import RAW
from ..results import Claim, Report

# The client style that goes without saying.
_USUAL = "threading"


class NamedCell(Protocol):
    """Anything that is said of one server, one client and what they do. Another library's name is its arm and its client."""

    @property
    def arm(self) -> str:
        """Who serves."""

    @property
    def client(self) -> str:
        """Who calls."""

    @property
    def workload(self) -> str:
        """Which calls."""

    @property
    def style(self) -> str:
        """How they are made."""


def who(cell: NamedCell) -> str:
    """The arm, and the client where it is another than the usual one. Another library has its own, which needs no name."""
    if cell.client == _USUAL or cell.client not in (*styles(), RAW):
        return cell.arm
    return f"{cell.arm}, {cell.client} client"


def what(cell: NamedCell) -> str:
    """The whole cell."""
    return f"{cell.workload}, {cell.style}: {who(cell)}"


def contests(report: Report) -> dict[str, list[Claim]]:
    """The claims about arms by the name of their cell, with its client where there are several; none of a run that cannot be trusted. In
    each the best arm comes first, beside all others."""
    claims = [each for each in report.claims if each.of_arms and report.verdict.trusted]
    cells = {(each.workload, each.style, each.client) for each in claims}
    several = len({cell[:2] for cell in cells}) < len(cells)
    found: dict[str, list[Claim]] = {}
    for each in claims:
        client = f", {each.client} client" if several else ""
        found.setdefault(f"{each.workload}, {each.style}{client}", []).append(each)
    return found


def of_best(claims: Sequence[Claim]) -> list[Claim]:
    """Of one cell's claims, those of its best arm beside each of the others."""
    return [each for each in claims if each.arm == claims[0].arm]
