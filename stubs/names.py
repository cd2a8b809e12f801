"""The names of a module: its definitions, its imports, and the names that its classes hide."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Collection
from math import isfinite
from typing import Any


class Names:
    """The names of one module.

    `members` are the attribute names of its classes, which hide the same names outside.
    """

    def __init__(self, members: Collection[str]) -> None:
        self._members = frozenset(members)
        self._imported: dict[str, str] = {}  # the local name, by MODULE.NAME
        self._taken = {*self._members, *dir(builtins), *keyword.kwlist}

    def reserve(self, wanted: str) -> str:
        """An unused name similar to the wanted one."""
        name = _plain(wanted) or "Value"
        if name[0].isdigit():
            name = f"_{name}"
        count, free = 1, name
        while free in self._taken:
            count += 1
            free = f"{name}{count}"
        self._taken.add(free)
        return free

    def use(self, path: str) -> str:
        """The local name of MODULE.NAME, which is imported."""
        module, _, name = path.rpartition(".")
        if module == "builtins" and name not in self._members:
            return name
        if path not in self._imported:
            self._imported[path] = self.reserve(name)
        return self._imported[path]

    def imports(self) -> list[str]:
        """The import lines for all used names."""
        names: dict[str, list[str]] = {}
        for path, own in sorted(self._imported.items()):
            module, _, name = path.rpartition(".")
            names.setdefault(module, []).append(name if name == own else f"{name} as {own}")
        return [f"from {module} import {', '.join(each)}" for module, each in names.items()]


def is_identifier(text: str) -> bool:
    """Whether it may name a parameter."""
    # Python normalizes names, so the text must be normalized already.
    return (
        text.isidentifier()
        and not keyword.iskeyword(text)
        and unicodedata.normalize("NFKC", text) == text
    )


def is_name(text: str) -> bool:
    """Whether it may name a method or a field."""
    return is_identifier(text) and not text.startswith("_")


def renamed(name: str, taken: Collection[str]) -> str:
    """A valid name for a field, as similar to its own as Python allows."""
    found = _plain(name) or "field"
    if found[0].isdigit():
        found = f"field_{found}"
    while found in taken or not is_name(found):
        found += "_"
    return found


def is_literal(value: Any) -> bool:
    """Whether it can be written as a literal: text, a number of 64 bits, a bool or None."""
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return value is None or isinstance(value, str) or (isinstance(value, float) and isfinite(value))


def literal(value: Any) -> str:
    """The literal, with double quotation marks where these are easy to read."""
    text = repr(value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII).strip("_")
