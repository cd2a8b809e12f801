"""Plug-ins that are found by name: ringback's own, and those in other packages' entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..errors import UsageError


class PluginGroup:
    """One group of plug-ins, by its entry points.

    `what`: the word for one plug-in. `ours`: ringback's own, as "module:Name" in `package`. These
    load without a search of the installed distributions, which costs 10 ms, as does the import of
    importlib.metadata.
    """

    def __init__(self, what: str, group: str, package: str, ours: Mapping[str, str]) -> None:
        self._what = what
        self._group = group
        self._package = package
        self._ours = ours

    def names(self) -> list[str]:
        """All names, ringback's own first."""
        from importlib.metadata import entry_points

        others = {point.name for point in entry_points(group=self._group)}
        return [*self._ours, *sorted(others - set(self._ours))]

    def load(self, name: str) -> Any:
        """The plug-in of that name. Raises UsageError, with the package to install or all names."""
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
                    f"the {name} {self._what} needs {name}: install it with pip install "
                    f"'ringback[{name}]'"
                ) from None
            raise
        raise UsageError(
            f"there is no {self._what} {name!r}: choose one of {', '.join(self.names())}"
        )
