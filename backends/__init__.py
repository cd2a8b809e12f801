"""Event loops: each file knows how one of them waits, and none knows what a call is.

`base.py` is the interface, `pump.py` the only place that reads a ZeroMQ socket's events; the other files are the four loops
and the worker threads that they share. A loop is found by its name among the entry points of the group `ringback.backends`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from ..errors import UsageError
from .base import Loop

# Ours are known without a look at the installed distributions, which costs 10 ms.
_OURS = {
    "asyncio": "AsyncioLoop",
    "gevent": "GeventLoop",
    "threading": "ThreadingLoop",
    "twisted": "TwistedLoop",
}


def names() -> list[str]:
    """The names of all backends, ours first, then those of other packages."""
    others = {point.name for point in entry_points(group="ringback.backends")}
    return [*_OURS, *sorted(others - set(_OURS))]


def load(name: str) -> type[Loop]:
    """The loop class of that name.

    Raises UsageError, naming what to install or the names there are, when it cannot be had.
    """
    try:
        if name in _OURS:
            loop: type[Loop] = getattr(import_module(f".{name}", __name__), _OURS[name])
            return loop
        for point in entry_points(group="ringback.backends", name=name):
            other: type[Loop] = point.load()
            return other
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == name:
            raise UsageError(
                f"the {name} backend needs {name}: install it with pip install 'ringback[{name}]'"
            ) from None
        raise
    raise UsageError(f"there is no backend {name!r}: choose one of {', '.join(names())}")
