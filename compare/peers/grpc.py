"""gRPC with threads: a server with a thread pool, and one channel that all client threads share.

Generic handlers without generated code: the message of echo and io is the value's bytes, that of
cpu its packed numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from ..workloads.handlers import cpu, io
from . import Callback, Errback, ready, settle

LOOP = "threading"
METHODS = ("echo", "io", "cpu")
DIFFERENCE = "HTTP/2 in C++ threads; no codec for bytes; all calls, echo too, in a pool of threads"

# By default a server cancels calls at random if more than a thousand are waiting.
OPTIONS = [
    ("grpc.server.max_pending_requests", 1_000_000),
    ("grpc.server.max_pending_requests_hard_limit", 1_000_000),
]

_ARGUMENTS = struct.Struct("!qq")
_RESULT = struct.Struct("!q")


def _echo(request: bytes, _: Any) -> bytes:
    return request


def _io(request: bytes, _: Any) -> bytes:
    return io(request)


def compute(request: bytes, _: Any) -> bytes:
    return _RESULT.pack(cpu(*_ARGUMENTS.unpack(request)))


def handlers(**functions: Callable[[bytes, Any], Any]) -> tuple[Any, ...]:
    """Handlers in the form of `add_generic_rpc_handlers`."""
    methods = {
        name: grpc.unary_unary_rpc_method_handler(function) for name, function in functions.items()
    }
    return (grpc.method_handlers_generic_handler("peer", methods),)


def callables(channel: Any) -> dict[str, Callable[..., Any]]:
    """By method: a function that calls it, with the arguments as a tuple."""
    return {
        "echo": channel.unary_unary("/peer/echo", _only),
        "io": channel.unary_unary("/peer/io", _only),
        "cpu": channel.unary_unary("/peer/cpu", _packed, _unpacked),
    }


def _only(args: tuple[bytes]) -> bytes:
    return args[0]


def _packed(args: tuple[int, int]) -> bytes:
    return _ARGUMENTS.pack(*args)


def _unpacked(reply: bytes) -> int:
    return int(_RESULT.unpack(reply)[0])


def serve(workers: int) -> None:
    server = grpc.server(ThreadPoolExecutor(workers), options=OPTIONS)
    server.add_generic_rpc_handlers(handlers(echo=_echo, io=_io, cpu=compute))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ready(f"127.0.0.1:{port}")
    server.wait_for_termination()


class Client:
    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.insecure_channel(endpoint)
        self._methods: dict[str, Any] = callables(self._channel)

    def call(self, method: str, *args: Any) -> Any:
        return self._methods[method](args)

    def fire(self, method: str, *args: Any, callback: Callback, errback: Errback) -> None:
        future = self._methods[method].future(args)
        future.add_done_callback(lambda future: settle(future.result, callback, errback))

    def close(self) -> None:
        self._channel.close()


connect = Client
