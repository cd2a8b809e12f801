"""The clients: one interface in four styles. `connections/core.py` is the way of every call through links and sockets, `base.py` what
all styles share, `blocking.py` and `awaiting.py` what those share that block their callers, and those that never do; the four files named
after their loops hold only what differs. A style is found by its name among the entry points of the group `ringback.clients`.
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

# The client class of a style. Raises UsageError, as `PluginGroup.load` does.
load = _STYLES.load


def connect(*endpoints: str, **options: Unpack[ConnectOptions]) -> Client:
    """A blocking client: of greenlets in a program that gevent has patched, of threads in any other. The options are
    those of `ringback.clients.threading.connect`."""
    monkey = sys.modules.get("gevent.monkey")
    patched = monkey is not None and monkey.is_module_patched("threading")
    client: Client = load("gevent" if patched else "threading")(*endpoints, **options)
    return client


def __getattr__(name: str) -> Any:
    """What users name. Only what is used is imported: a probe, `commands/health.py`, needs nothing of it."""
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
