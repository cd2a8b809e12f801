"""Other RPC libraries as reference lines: each with its own idiomatic server and client, on the workloads of `compare`.

A file is one library, and twin to the others: `serve` is its server, `connect` its client. A server has nothing to save,
so SIGTERM ends it as it ends any process.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ...errors import UsageError

Callback = Callable[[Any], object]
Errback = Callable[[BaseException], object]

# By the name of the peer, what is imported of it.
_LIBRARIES = {
    "pyzmq": "zmq",
    "zerorpc": "zerorpc",
    "rpyc": "rpyc",
    "grpc": "grpc",
    "grpc-aio": "grpc",
}
NAMES = tuple(_LIBRARIES)


def installed() -> list[str]:
    """The names of those whose library is there. None is imported: gevent's have to be patched for first."""
    return [name for name, library in _LIBRARIES.items() if find_spec(library) is not None]


def load(name: str) -> ModuleType:
    """The module of that name. Raises UsageError, naming what to install or the names there are, when it cannot be had."""
    if name not in _LIBRARIES:
        raise UsageError(f"there is no peer {name!r}: choose one of {', '.join(NAMES)}")
    try:
        return import_module(f".{name.replace('-', '_')}", __name__)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("ringback"):
            raise
        raise UsageError(
            f"the peer {name} needs {error.name}: install it with pip install 'ringback[peers]'"
        ) from None


def ready(address: str) -> None:
    """Tell the parent that calls are taken at HOST:PORT."""
    print(f"ready {address}", flush=True)  # noqa: T201


def settle(take: Callable[[], Any], callback: Callback, errback: Errback) -> None:
    """Run the one of the two that fits what `take` returns or raises, a cancellation too."""
    try:
        result = take()
    except BaseException as error:
        errback(error)
    else:
        callback(result)
