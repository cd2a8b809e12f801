"""Rows in memory, including removals, in the order of their revisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .base import Change, Changes, Conflict, Row, TooLate


class Rows:
    """The newest state of each row. The caller must hold a lock."""

    def __init__(self, changes: Sequence[Change] = ()) -> None:
        self._rows: dict[str, Change] = {}
        self.apply(changes)

    def apply(self, changes: Sequence[Change]) -> None:
        """Add changes. No revision may be below that of an earlier change."""
        for each in changes:
            self._rows.pop(each.name, None)
            self._rows[each.name] = each

    def find(self, name: str, now: float) -> Row | None:
        """The row at time `now`. None if it was removed or has expired."""
        each = self._rows.get(name)
        if each is None or each.value is None or not _lives(each, now):
            return None
        return Row(each.value, each.revision)

    def check(self, checks: Mapping[str, int], now: float, before: float) -> None:
        """Check the conditions of `Engine.commit`. Raises Conflict, TooLate."""
        if now >= before:
            raise TooLate
        for name, expected in checks.items():
            found = self.find(name, now)
            if (0 if found is None else found.revision) != expected:
                raise Conflict(name)

    def changes(self, prefix: str, since: int, limit: int, now: float, reached: int) -> Changes:
        """As `Engine.changes`; the rows are complete up to the revision `reached`."""
        found: list[Change] = []
        for each in reversed(self._rows.values()):
            if each.revision <= since:
                break
            if each.name.startswith(prefix) and _lives(each, now):
                found.append(each)
        found.reverse()
        if len(found) > limit:
            last = found[limit - 1].revision
            rest = next((each for each in found[limit:] if each.revision > last), None)
            if rest is not None:
                return Changes([each for each in found if each.revision <= last], last, now)
        return Changes(found, max(since, reached), now)

    def sweep(self, now: float) -> None:
        """Remove expired rows and removals that no longer need reporting."""
        for name in [each.name for each in self._rows.values() if not _lives(each, now)]:
            del self._rows[name]


def _lives(each: Change, now: float) -> bool:
    return each.expires is None or each.expires > now
