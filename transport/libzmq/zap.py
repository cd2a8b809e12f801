"""The ZAP authenticator of a zmq.Context, on a server's loop (https://rfc.zeromq.org/spec/27/).

libzmq asks it about the client's key at each handshake. A zmq.Context can have only one
authenticator, so servers with the same context share one. Each server has a domain of its own. The
authenticator runs on the loop of one of the servers, and moves to another's loop when that server
leaves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import zmq
from zmq.utils import z85

from ...backends.base import Loop
from ...backends.native import allocate_lock
from ...errors import UsageError
from ...logs.errorlog import log_error
from ...runtime import forks
from ...security.authorized import Authorized
from .pump import NOBLOCK, RCVMORE, Pump

log = logging.getLogger("ringback.security")

ENDPOINT = "inproc://zeromq.zap.01"

# The metadata property of each message with the key of its connection, beside libzmq's "User-Id".
KEY = "X-Ringback-Key"

_VERSION = b"1.0"
_CURVE = b"CURVE"


class Domain(NamedTuple):
    """One server, as the authenticator sees it."""

    name: bytes
    authorized: Authorized
    loop: Loop
    refused: Callable[[str, bytes], object]  # called in the authenticator's thread: address and key


_lock = forks.freed(allocate_lock())
_answerers: dict[tuple[int, int], _Answerer] = {}


def join(context: zmq.Context[Any], domain: Domain) -> None:
    """Add the domain to the context's authenticator. Call it on its loop, before its server binds.

    Raises UsageError if the context has another authenticator.
    """
    with _lock:
        place = os.getpid(), context.underlying
        answerer = _answerers.get(place)
        if answerer is None:
            answerer = _Answerer(context)
        answerer.domains[domain.name] = domain
        try:
            answerer.open(domain)
        except BaseException:
            del answerer.domains[domain.name]
            raise
        _answerers[place] = answerer


def leave(context: zmq.Context[Any], domain: Domain) -> None:
    """Remove the domain. Call it on its loop, before the context is terminated."""
    with _lock:
        place = os.getpid(), context.underlying
        answerer = _answerers.get(place)
        if answerer is None or answerer.domains.pop(domain.name, None) is None:
            return
        heir = None
        if answerer.owner is domain:
            answerer.close()
            heir = next(iter(answerer.domains.values()), None)
        if not answerer.domains:
            del _answerers[place]
    if heir is not None:  # without the lock, as a loop may have its own lock
        heir.loop.call_soon_threadsafe(_take_over, place, heir)


def _take_over(place: tuple[int, int], domain: Domain) -> None:
    with _lock:
        answerer = _answerers.get(place)
        if answerer is not None and answerer.domains.get(domain.name) is domain:
            answerer.open(domain)


class _Answerer:
    """The authenticator of one context."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self._context = context
        self.domains: dict[bytes, Domain] = {}
        self.owner: Domain | None = None
        self._socket: Any = None
        self._pump: Pump | None = None

    def open(self, owner: Domain) -> None:
        """Start on the loop of that domain, unless it has started."""
        if self.owner is not None:
            return
        socket = self._context.socket(zmq.REP)
        socket.set(zmq.LINGER, 0)
        try:
            socket.bind(ENDPOINT)
        except zmq.ZMQError as error:
            socket.close(0)
            raise UsageError(
                f"the zmq.Context of this server already has an authenticator at {ENDPOINT} "
                f"({error.strerror}): stop it, or give the server a context without one"
            ) from None
        self.owner, self._socket = owner, socket
        self._pump = Pump(owner.loop, socket, self._receive, lambda: None)

    def close(self) -> None:
        if self._pump is not None:
            self._socket.unbind(ENDPOINT)  # closing unbinds later, but the next one binds at once
            self._pump.close(0)
        self.owner = self._pump = None

    def _receive(self, version: bytes) -> None:
        frames = [version]
        while self._socket.get(RCVMORE):
            frames.append(self._socket.recv(NOBLOCK))
        request = frames[1] if len(frames) > 1 else b""
        try:
            answer = self._answer(frames)
        except Exception as error:  # libzmq waits for an answer, also for later requests
            log_error(log, "handshake check failed", error=error)
            answer = [b"500", b"internal error", b"", b""]
        if self._pump is not None:
            self._pump.send([_VERSION, request, *answer])

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        """The answer's status, text, user id and metadata."""
        if len(frames) != 7 or frames[0] != _VERSION or frames[5] != _CURVE or len(frames[6]) != 32:
            return _refusal("this server requires CURVE")
        domain = self.domains.get(frames[2])
        if domain is None:
            return _refusal("unknown domain")
        key = z85.encode(frames[6])
        name = domain.authorized.name_of(key)
        if name is None:
            domain.refused(frames[3].decode("utf-8", "replace"), key)
            return _refusal("unknown key")
        return [b"200", b"OK", name.encode(), _property(KEY.encode(), key)]


def _refusal(text: str) -> list[bytes]:
    return [b"400", text.encode(), b"", b""]


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
