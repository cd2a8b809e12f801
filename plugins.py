"""Things that are found by name: ours, and those of other packages, by their entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


class Group:
    """Those of one group of entry points. `ours` are known without a look at the installed distributions, which costs 10 ms, as it does to
    import what looks: each by a module of this `package` and what to take from it, as "module:Name"."""

    def __init__(self, group: str, package: str, ours: Mapping[str, str]) -> None:
        self._group = group
        self._package = package
        self._ours = ours

    def names(self) -> list[str]:
        """All of them, ours first."""
        from importlib.metadata import entry_points

        others = {point.name for point in entry_points(group=self._group)}
        return [*self._ours, *sorted(others - set(self._ours))]

    def find(self, name: str) -> Any:
        """What has that name; None where nothing has. Raises ImportError where it cannot be had."""
        if name in self._ours:
            module, _, attribute = self._ours[name].partition(":")
            return getattr(import_module(f".{module}", self._package), attribute)
        from importlib.metadata import entry_points

        for point in entry_points(group=self._group, name=name):
            return point.load()
        return None
