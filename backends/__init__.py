"""Event loops: each file adapts one event loop to the interface of `base.py`.

`blocking.py` is the interface of loops on which callers wait. The other files are the four event
loops and the worker threads that they share. No file here knows what a call is. A loop is found by
its name among the entry points of the group `ringback.backends`.
"""

from __future__ import annotations

from ..runtime.plugins import PluginGroup

_LOOPS = PluginGroup(
    "backend",
    "ringback.backends",
    __name__,
    {
        "asyncio": "asyncio:AsyncioLoop",
        "gevent": "gevent.server:GeventLoop",
        "threading": "threading:ThreadingLoop",
        "twisted": "twisted.loop:TwistedLoop",
    },
)

names = _LOOPS.names

# Server options that only one event loop has, with that loop.
OWNERS = {"uvloop": "asyncio", "reactor": "twisted"}

# Returns the loop class of a name. Raises UsageError, as `PluginGroup.load` does.
load = _LOOPS.load
