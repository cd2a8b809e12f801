"""Event loops: each file knows how one of them waits, and none knows what a call is.

`base.py` is the interface; the other files are the four loops and the worker threads that they share.
A loop is found by its name among the entry points of the group `ringback.backends`.
"""

from __future__ import annotations

from ..errors import UsageError
from ..plugins import Group
from .base import Loop

_LOOPS = Group(
    "ringback.backends",
    __name__,
    {
        "asyncio": "asyncio:AsyncioLoop",
        "gevent": "gevent:GeventLoop",
        "threading": "threading:ThreadingLoop",
        "twisted": "twisted:TwistedLoop",
    },
)

names = _LOOPS.names

# Options of a server that one loop alone has.
OWNERS = {"uvloop": "asyncio", "reactor": "twisted"}


def load(name: str) -> type[Loop]:
    """The loop class of that name.

    Raises UsageError, naming what to install or the names there are, when it cannot be had.
    """
    try:
        loop: type[Loop] | None = _LOOPS.find(name)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == name:
            raise UsageError(
                f"the {name} backend needs {name}: install it with pip install 'ringback[{name}]'"
            ) from None
        raise
    if loop is None:
        raise UsageError(f"there is no backend {name!r}: choose one of {', '.join(names())}")
    return loop
