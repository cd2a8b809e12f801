"""What a cell is called, wherever it is named: no two of a report have the same name."""

from __future__ import annotations

from typing import Protocol

from ...clients.scripts import STYLES as CLIENTS
from ..load.plan import RAW

# The client style that goes without saying.
_USUAL = "threading"


class Ends(Protocol):
    """Anything that is said of one server and one client."""

    @property
    def arm(self) -> str:
        """Who serves; of another library, its name."""

    @property
    def client(self) -> str:
        """Who calls; of another library, its name again."""


class Cell(Ends, Protocol):
    """And of what they do."""

    @property
    def workload(self) -> str:
        """Which calls."""

    @property
    def style(self) -> str:
        """How they are made."""


def who(ends: Ends) -> str:
    """The arm, and the client where it is another than the usual one. Another library has its own, which needs no name."""
    if ends.client == _USUAL or ends.client not in (*CLIENTS, RAW):
        return ends.arm
    return f"{ends.arm}, {ends.client} client"


def what(cell: Cell) -> str:
    """The whole cell."""
    return f"{cell.workload}, {cell.style}: {who(cell)}"
