"""Event loops: each file knows how one of them waits, and none knows what a call is.

`base.py` is the interface, `blocking.py` that of loops on which callers wait; the other files are the four loops and the worker threads
that they share. A loop is found by its name among the entry points of the group `ringback.backends`.
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

# Options of a server that one loop alone has.
OWNERS = {"uvloop": "asyncio", "reactor": "twisted"}

# The loop class of a name. Raises UsageError, as `PluginGroup.load` does.
load = _LOOPS.load
