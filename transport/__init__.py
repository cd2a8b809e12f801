"""How messages come and go: `base.py` is what both ends need of that, `native/` speaks ZeroMQ's wire on the loop's own sockets, and
`libzmq/` leaves it to libzmq. Others are found by name among the entry points of the group `ringback.transports`.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    import zmq

    from .base import Transport

# What is used where nobody says anything else, and the variable that may.
DEFAULT = "libzmq"
VARIABLE = "RINGBACK_TRANSPORT"

# Ours are known without a look at the installed distributions, which costs 10 ms.
_OURS = {"libzmq": "libzmq.ends:Libzmq", "native": "native.ends:Native"}


def names() -> list[str]:
    """The names of all transports, ours first, then those of other packages."""
    others = {point.name for point in entry_points(group="ringback.transports")}
    return [*_OURS, *sorted(others - set(_OURS))]


def chosen(name: str | None, context: zmq.Context[Any] | None = None) -> Transport:
    """The transport of that name, of $RINGBACK_TRANSPORT, or the default; a `context` without a name is for libzmq. Raises UsageError,
    which names those that there are."""
    if name is None:
        name = "libzmq" if context is not None else os.environ.get(VARIABLE) or DEFAULT
    return _load(name)(context)


def _load(name: str) -> type[Transport]:
    if name in _OURS:
        module, _, kind = _OURS[name].partition(":")
        ours: type[Transport] = getattr(import_module(f".{module}", __name__), kind)
        return ours
    for point in entry_points(group="ringback.transports", name=name):
        other: type[Transport] = point.load()
        return other
    raise UsageError(f"there is no transport {name!r}: choose one of {', '.join(names())}")
