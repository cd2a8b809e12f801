"""The columns of the table: all of them in a file or a pipe, on a terminal as many as it is wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import astuple

from ..results import Claim, Latency, Result
from ..statistics.figures import told

BEST = "*"
_SIGNS = {"better": "+", "equal": "=", "worse": "-", "unclear": "?"}

# The widest name of all columns' form, under titles that stand in the same column.
_WIDE = 34


class Columns(NamedTuple):
    """Which there are beside calls/s, the comparison, times and the limit; and how wide the names are.

    `title` is whether the title of a group stands over its names rather than on a line of its own, `mistakes` whether there are the columns
    of errors and wrong replies, `consistency` whether there are those of updates that are lost, effects there twice, and stale reads,
    `balance` whether there are those of calls that a slow server was given, and that were sent twice.
    """

    names: int = _WIDE
    title: bool = True
    cost: bool = True
    interval: bool = True
    mistakes: bool = True
    consistency: bool = False
    balance: bool = False

    @classmethod
    def fitting(cls, width: int | None, results: Iterable[Result]) -> Columns:
        """The most that so many characters have room for; None is no end of them."""
        results = list(results)
        widest = cls(
            consistency=any(each.consistency is not None for each in results),
            balance=any(each.balance is not None for each in results),
        )
        if width is None or len(widest.row("", "")) <= width:
            return widest
        names = max((len(each.arm) + 2 * each.peer for each in results), default=0) + 1
        # Only what is 0 everywhere can be missed without a word.
        narrow = cls(names, title=False, mistakes=any(each.errors or each.wrong for each in results))
        tried = (narrow, narrow._replace(cost=False), narrow._replace(cost=False, interval=False))
        return next((each for each in tried if len(each.row("", "")) <= width), tried[-1])

    def head(self, title: str) -> list[str]:
        """Above the rows of a group."""
        over = f"{'calls/s':>10}  {'vs best':<{self._beside}}{'p50 ms':>9}{'p99 ms':>9}"
        checked, spread = ("lost", "duplicated", "stale"), ("slow got", "twice")
        line = self._line(over, "server us", "limit", "errors", "wrong", checked, spread)
        if self.title:
            return [f"  {title:<{self.names + 2}}{line}"]
        return [f"  {title}", f"    {'':<{self.names}}{line}"]

    def row(self, name: str, against: str, result: Result | None = None) -> str:
        """Of one cell; without one, only as wide as a row is."""
        if result is None:
            return f"    {name:<{self.names}}{self._line(f'{against:<{self._beside + 30}}', '', '', '', '')}"
        cost = result.cpu.server_per_call
        over = f"{result.throughput:>10,.0f}  {against:<{self._beside}}{_times(result)}"
        line = self._line(
            over,
            "-" if cost is None else f"{cost * 1e6:,.1f}",
            "void" if result.void else result.limit,
            f"{result.errors:,}",
            f"{result.wrong:,}",
            [] if result.consistency is None else [f"{each:,}" for each in astuple(result.consistency)],
            [] if result.balance is None else [f"{each:.1%}" for each in astuple(result.balance)],
        )
        return f"    {name:<{self.names}}{line}"

    def times(self, name: str, latency: Latency) -> str:
        """Of a part of a cell's calls."""
        return f"      {name:<{self.names + self._beside + 10}}{_pair(latency)}"

    def claim(self, claim: Claim) -> str:
        """What is said of an arm beside the best, or of one way beside the plain one."""
        figure = {"throughput": "", "server_cpu": "CPU "}.get(claim.figure, f"{claim.figure} ")
        interval = f" ({claim.low:.2f}..{claim.high:.2f})" if self.interval else ""
        return f"{figure}{claim.ratio:.2f}{interval} {_SIGNS[claim.verdict]}"

    @property
    def reference(self) -> str:
        """What stands there for another library."""
        return "reference, own client" if self.interval else "reference"

    def ways(self, name: str, against: Iterable[str]) -> str:
        """What is said of one arm in several ways, or what stands above it."""
        cells = " ".join(f"{each:<{self._beside - 1}}" for each in against)
        return f"    {name:<{self.names}}{cells}".rstrip()

    @property
    def _beside(self) -> int:
        return 24 if self.interval else 12

    def _line(
        self,
        over: str,
        cost: str,
        limit: str,
        errors: str,
        wrong: str,
        consistency: Sequence[str] = (),
        balance: Sequence[str] = (),
    ) -> str:
        mistakes = f"{errors:>7}{wrong:>6}" if self.mistakes else ""
        lost, twice, stale = consistency or ("", "", "")
        checked = f"{lost:>8}{twice:>12}{stale:>8}" if self.consistency else ""
        slow, again = balance or ("", "")
        spread = f"{slow:>10}{again:>8}" if self.balance else ""
        return f"{over}{f'{cost:>11}' if self.cost else ''}  {limit:<8}{mistakes}{checked}{spread}"


def _times(result: Result) -> str:
    return f"{'overloaded':>18}" if result.overloaded else _pair(told(result.latency, result.calls))


def _pair(latency: Latency) -> str:
    return f"{milliseconds(latency.p50):>9}{milliseconds(latency.p99):>9}"


def milliseconds(seconds: float | None) -> str:
    """For a person to read."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:,.2f}" if seconds >= 1e-4 else f"{seconds * 1000:,.4f}"
