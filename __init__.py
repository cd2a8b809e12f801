"""ringback: RPC for Python over ZeroMQ, on the event loop and in the call style you choose.

    import ringback

    service = ringback.Service("calc")

    @service.method
    def add(a: int, b: int) -> int:
        "Sum of two integers."
        return a + b

Serve it with `ringback serve calc.py:service --backend twisted`. Call it from anywhere with
`ringback.connect("tcp://127.0.0.1:5555").call("add", 1, 2)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors
from .version import __version__

if TYPE_CHECKING:
    # In a program that gevent has patched, `connect` returns the gevent client. Its interface is
    # the same.
    from .clients.threading import connect
    from .context import CurrentCall, current_call
    from .server.declare.service import Service
    from .server.running import serve
    from .server.server import Server
    from .state import open_state
    from .state.cache import Cache

# Names are imported on first use: a client needs no server, and neither needs the other event
# loops.
_WHERE = {
    "Cache": ".state.cache",
    "CurrentCall": ".context",
    "Server": ".server.server",
    "Service": ".server.declare.service",
    "connect": ".clients",
    "current_call": ".context",
    "open_state": ".state",
    "serve": ".server.running",
}

__all__ = [
    "Cache",
    "CurrentCall",
    "Server",
    "Service",
    "__version__",
    "connect",
    "current_call",
    "errors",
    "open_state",
    "serve",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(where, __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
