"""Names of cells, unique in a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...clients import names as styles
from ..load.plan import RAW
from ..results import Claim, Report

# The client style that names leave out.
_USUAL = "threading"


class NamedCell(Protocol):
    """Anything with the names of a cell. A peer's name is both its arm and its client."""

    @property
    def arm(self) -> str:
        """Name of the arm."""

    @property
    def client(self) -> str:
        """Client style."""

    @property
    def workload(self) -> str:
        """Name of the workload."""

    @property
    def style(self) -> str:
        """Call style."""


def who(cell: NamedCell) -> str:
    """The arm, and the client unless it is the usual one, or a peer's own."""
    if cell.client == _USUAL or cell.client not in (*styles(), RAW):
        return cell.arm
    return f"{cell.arm}, {cell.client} client"


def what(cell: NamedCell) -> str:
    """The name of the cell."""
    return f"{cell.workload}, {cell.style}: {who(cell)}"


def contests(report: Report) -> dict[str, list[Claim]]:
    """The claims about arms, by the name of their cell; none for a run that cannot be trusted.

    The name has the client if there are several. In each list the claims of the best arm come
    first.
    """
    claims = [each for each in report.claims if each.of_arms and report.verdict.trusted]
    cells = {(each.workload, each.style, each.client) for each in claims}
    several = len({cell[:2] for cell in cells}) < len(cells)
    found: dict[str, list[Claim]] = {}
    for each in claims:
        client = f", {each.client} client" if several else ""
        found.setdefault(f"{each.workload}, {each.style}{client}", []).append(each)
    return found


def of_best(claims: Sequence[Claim]) -> list[Claim]:
    """The claims of the best arm, from the claims of one cell."""
    return [each for each in claims if each.arm == claims[0].arm]
