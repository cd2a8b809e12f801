"""Other RPC libraries for reference, each with an idiomatic server and client, on our workloads.

Each file is one library, and all have the same names: `serve` is the server, `connect` the client.
A server has nothing to save, so it does not handle SIGTERM.
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

# By peer: the module that it imports.
_LIBRARIES = {
    "pyzmq": "zmq",
    "zerorpc": "zerorpc",
    "rpyc": "rpyc",
    "grpc": "grpc",
    "grpc-aio": "grpc",
}
NAMES = tuple(_LIBRARIES)


def installed() -> list[str]:
    """The names of peers whose library is installed. It imports none, as gevent must patch
    first."""
    return [name for name, library in _LIBRARIES.items() if find_spec(library) is not None]


def load(name: str) -> ModuleType:
    """The peer's module. Raises UsageError for an unknown name or a missing library."""
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
    """Report to the parent that the server accepts calls at HOST:PORT."""
    print(f"ready {address}", flush=True)  # noqa: T201


def settle(take: Callable[[], Any], callback: Callback, errback: Errback) -> None:
    """Pass the result of `take` to `callback`, or its exception, cancellation included, to
    `errback`."""
    try:
        result = take()
    except BaseException as error:
        errback(error)
    else:
        callback(result)
