"""Checks that the libraries of a command's extra are installed."""

from __future__ import annotations

import importlib.util

from ..errors import UsageError

_LIBRARIES = ("numpy", "scipy", "hdrh", "psutil", "plotly", "jinja2")


def require_extra(name: str) -> None:
    """Raise UsageError, which names the extra, if a library of that command is missing."""
    for library in (*_LIBRARIES, *(["optuna"] if name == "tune" else [])):
        if importlib.util.find_spec(library) is None:
            raise UsageError(
                f"ringback {name} needs {library}: install it with pip install 'ringback[{name}]'"
            )
