"""libzmq asks at each handshake whose key that is (ZAP, https://rfc.zeromq.org/spec/27/): answered here, on the loop of a server.

There can be one who answers in each zmq.Context. So the servers that share one share it: each has a domain of its own, and it lives on the
loop of one of them; when that one leaves, on another's.
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

# The name under which each message tells whose key its connection has, beside libzmq's own "User-Id".
KEY = "X-Ringback-Key"

_VERSION = b"1.0"
_CURVE = b"CURVE"


class Domain(NamedTuple):
    """One server, to who answers."""

    name: bytes
    authorized: Authorized
    loop: Loop
    refused: Callable[[str, bytes], object]  # called in the answerer's thread with the address and the key


_lock = forks.freed(allocate_lock())
_answerers: dict[tuple[int, int], _Answerer] = {}


def join(context: zmq.Context[Any], domain: Domain) -> None:
    """Answer for this domain too. To be called on its loop, before its server binds. Raises UsageError where somebody else answers in
    this context."""
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
    """To be called on its loop, before the context is terminated."""
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
    if heir is not None:  # (without the lock: a loop may have one of its own)
        heir.loop.call_soon_threadsafe(_take_over, place, heir)


def _take_over(place: tuple[int, int], domain: Domain) -> None:
    with _lock:
        answerer = _answerers.get(place)
        if answerer is not None and answerer.domains.get(domain.name) is domain:
            answerer.open(domain)


class _Answerer:
    """The one of a context."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self._context = context
        self.domains: dict[bytes, Domain] = {}
        self.owner: Domain | None = None
        self._socket: Any = None
        self._pump: Pump | None = None

    def open(self, owner: Domain) -> None:
        """Begin on the loop of that domain, where it has not begun."""
        if self.owner is not None:
            return
        socket = self._context.socket(zmq.REP)
        socket.set(zmq.LINGER, 0)
        try:
            socket.bind(ENDPOINT)
        except zmq.ZMQError as error:
            socket.close(0)
            raise UsageError(
                f"the zmq.Context of this server has somebody who answers at {ENDPOINT} already ({error.strerror}): stop that "
                "authenticator, or give the server a context without one"
            ) from None
        self.owner, self._socket = owner, socket
        self._pump = Pump(owner.loop, socket, self._receive, lambda: None)

    def close(self) -> None:
        if self._pump is not None:
            self._socket.unbind(ENDPOINT)  # closing does it too, but later: the next may bind at once
            self._pump.close(0)
        self.owner = self._pump = None

    def _receive(self, version: bytes) -> None:
        frames = [version]
        while self._socket.get(RCVMORE):
            frames.append(self._socket.recv(NOBLOCK))
        request = frames[1] if len(frames) > 1 else b""
        try:
            answer = self._answer(frames)
        except Exception as error:  # who asks waits for an answer, and so does all that comes after
            log_error(log, "a handshake could not be judged", error=error)
            answer = [b"500", b"internal error", b"", b""]
        if self._pump is not None:
            self._pump.send([_VERSION, request, *answer])

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        """Status, text, user id and metadata."""
        if len(frames) != 7 or frames[0] != _VERSION or frames[5] != _CURVE or len(frames[6]) != 32:
            return _refusal("a handshake with CURVE is needed")
        domain = self.domains.get(frames[2])
        if domain is None:
            return _refusal("nobody answers for this server")
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
