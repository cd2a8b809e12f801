"""Parts that are found by name: ringback's own, and those of other packages, by their entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..errors import UsageError


class PluginGroup:
    """One group of entry points. `what`: the word for one of them. `ours` are known without a look at the installed distributions, which
    costs 10 ms, as it does to import what looks: each by a module of this `package` and what to take from it, as "module:Name"."""

    def __init__(self, what: str, group: str, package: str, ours: Mapping[str, str]) -> None:
        self._what = what
        self._group = group
        self._package = package
        self._ours = ours

    def names(self) -> list[str]:
        """All of them, ours first."""
        from importlib.metadata import entry_points

        others = {point.name for point in entry_points(group=self._group)}
        return [*self._ours, *sorted(others - set(self._ours))]

    def load(self, name: str) -> Any:
        """The part of that name. Raises UsageError, which names what to install or the names there are, when it cannot be had."""
        try:
            if name in self._ours:
                module, _, attribute = self._ours[name].partition(":")
                return getattr(import_module(f".{module}", self._package), attribute)
            from importlib.metadata import entry_points

            for point in entry_points(group=self._group, name=name):
                return point.load()
        except ImportError as error:
            if error.name is not None and error.name.partition(".")[0] == name:
                raise UsageError(
                    f"the {name} {self._what} needs {name}: install it with pip install 'ringback[{name}]'"
                ) from None
            raise
        raise UsageError(f"there is no {self._what} {name!r}: choose one of {', '.join(self.names())}")
