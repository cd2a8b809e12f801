"""The clients: one interface in four styles.

`connections/core.py` carries every call through links and sockets. `base.py` holds the code of all
styles, `blocking.py` the code of the styles that block their callers, and `awaiting.py` the code of
those that never block. The four files named after their loops hold only the differences. `load`
finds a style by name among the entry points of the group `ringback.clients`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Unpack

from ..runtime.plugins import PluginGroup

if TYPE_CHECKING:
    from .base import Answer, Client
    from .callbacks.running import Event
    from .calls.intercepted import ClientCall
    from .options import ConnectOptions

__all__ = ["Answer", "Client", "ClientCall", "Event", "connect", "load", "names"]

_STYLES = PluginGroup(
    "client",
    "ringback.clients",
    __name__,
    {
        "threading": "threading:ThreadingClient",
        "gevent": "gevent:GeventClient",
        "asyncio": "asyncio:AsyncioClient",
        "twisted": "twisted:TwistedClient",
    },
)

names = _STYLES.names

# Returns the client class of a style. Raises UsageError, as `PluginGroup.load` does.
load = _STYLES.load


def connect(*endpoints: str, **options: Unpack[ConnectOptions]) -> Client:
    """Make a blocking client: for greenlets if gevent has patched the program, otherwise for
    threads. The options are those of `ringback.clients.threading.connect`."""
    monkey = sys.modules.get("gevent.monkey")
    patched = monkey is not None and monkey.is_module_patched("threading")
    client: Client = load("gevent" if patched else "threading")(*endpoints, **options)
    return client


def __getattr__(name: str) -> Any:
    """Import a public name at first use. `commands/health.py`, a probe, needs none of them."""
    if name in ("Answer", "Client"):
        from . import base

        return getattr(base, name)
    if name == "ClientCall":
        from .calls.intercepted import ClientCall

        return ClientCall
    if name == "Event":
        from .callbacks.running import Event

        return Event
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
