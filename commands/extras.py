"""What some commands need beside ringback itself, looked for before they begin."""

from __future__ import annotations

import importlib.util

from ..errors import UsageError

_LIBRARIES = ("numpy", "scipy", "hdrh", "psutil", "plotly", "jinja2")


def require_extra(name: str) -> None:
    """Raises UsageError that names the extra of that command, where a library of it is missing."""
    for library in (*_LIBRARIES, *(["optuna"] if name == "tune" else [])):
        if importlib.util.find_spec(library) is None:
            raise UsageError(
                f"ringback {name} needs {library}: install it with pip install 'ringback[{name}]'"
            )
