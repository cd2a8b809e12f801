"""How messages come and go: `base.py` is what both ends need of that, `native/` speaks ZeroMQ's wire on the loop's own sockets, and
`libzmq/` leaves it to libzmq. Others are found by name among the entry points of the group `ringback.transports`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..runtime.plugins import PluginGroup

if TYPE_CHECKING:
    from .base import Transport
    from .libzmq import ZmqContext

# What is used where nobody says anything else, and the variable that may.
DEFAULT = "native"
VARIABLE = "RINGBACK_TRANSPORT"

_TRANSPORTS = PluginGroup(
    "transport",
    "ringback.transports",
    __name__,
    {"native": "native.ends:Native", "libzmq": "libzmq.ends:Libzmq"},
)

names = _TRANSPORTS.names


def name_of(given: str | None) -> str:
    """The transport's name where that name, or none, is given."""
    return given or os.environ.get(VARIABLE) or DEFAULT


def chosen(name: str | None, context: ZmqContext | None = None) -> Transport:
    """The transport of that name, of $RINGBACK_TRANSPORT, or the default; a `context` without a name is for libzmq. Raises UsageError,
    which names those that there are."""
    if name is None:
        name = "libzmq" if context is not None else name_of(None)
    transport: Transport = _TRANSPORTS.load(name)(context)
    return transport
