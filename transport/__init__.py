"""Transports: how server and client exchange messages over the network.

`base.py` is the interface for both ends. `native/` speaks ZeroMQ's wire protocol on the event
loop's own sockets, and `libzmq/` leaves it to libzmq. Further transports are found by name among
the entry points of the group `ringback.transports`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..runtime.plugins import PluginGroup

if TYPE_CHECKING:
    from .base import Transport
    from .libzmq import ZmqContext

# The default transport, and the environment variable that overrides it.
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
    """The given name, else $RINGBACK_TRANSPORT, else the default."""
    return given or os.environ.get(VARIABLE) or DEFAULT


def chosen(name: str | None, context: ZmqContext | None = None) -> Transport:
    """The transport of that name, else of $RINGBACK_TRANSPORT, else the default.

    A `context` without a name selects libzmq. Raises UsageError, which lists the known transports.
    """
    if name is None:
        name = "libzmq" if context is not None else name_of(None)
    transport: Transport = _TRANSPORTS.load(name)(context)
    return transport
