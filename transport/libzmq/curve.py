"""CURVE keys on libzmq's sockets, and the keys of a server's connections."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import zmq

from ...backends.base import Loop
from ...errors import UsageError
from ...security.curve import ClientKeys, ServerKeys, check_encrypts
from . import zap

# Older versions have known vulnerabilities in CURVE (CVE-2020-15166 and others).
_OLDEST = (4, 3, 3)


def _check_library() -> None:
    """Raises UsageError if libzmq has no trustworthy CURVE."""
    if not zmq.has("curve"):
        raise UsageError("keys need a libzmq with CURVE, as in pyzmq's own wheels: reinstall pyzmq")
    if zmq.zmq_version_info() < _OLDEST:
        raise UsageError(
            f"keys need libzmq 4.3.3 or newer, as the CURVE of {zmq.zmq_version()} has known "
            "vulnerabilities: upgrade pyzmq"
        )


class Guard:
    """A server's CURVE: which clients may connect to its socket."""

    def __init__(
        self,
        keys: ServerKeys,
        context: zmq.Context[Any],
        loop: Loop,
        refused: Callable[[str, bytes], object],
    ) -> None:
        """Raises UsageError if the context has another authenticator, or CURVE is unusable."""
        _check_library()
        self._pair, self.authorized = keys
        self._context = context
        self._domain = zap.Domain(
            b"ringback." + os.urandom(8).hex().encode(), self.authorized, loop, refused
        )
        zap.join(context, self._domain)

    def protect(self, socket: zmq.Socket[Any]) -> None:
        """Set up the server's socket. Call it before binding."""
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, self._pair.secret)
        socket.set(zmq.ZAP_DOMAIN, self._domain.name)
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def lets_in(self, key: str) -> bool:
        """Whether the key would be admitted now, by the keys that were read last."""
        return self.authorized.every or key.encode() in self.authorized.names

    def close(self) -> None:
        """Close after the socket, and before its context is terminated."""
        zap.leave(self._context, self._domain)


def key_of(frame: zmq.Frame) -> str:
    """The client key of the frame's connection, in Z85 text; "" without a key."""
    return _told(frame, zap.KEY)


def user_of(frame: zmq.Frame) -> str:
    """The name of the client key of the frame's connection."""
    return _told(frame, "User-Id")


def _told(frame: zmq.Frame, what: str) -> str:
    try:
        return str(frame.get(what))
    except zmq.ZMQError:
        return ""


def protect(socket: zmq.Socket[Any], keys: ClientKeys, endpoint: str) -> None:
    """Set up a client's socket before it connects. Raises UsageError."""
    _check_library()
    check_encrypts(endpoint)
    socket.set(zmq.CURVE_SERVERKEY, keys.server)
    socket.set(zmq.CURVE_PUBLICKEY, keys.pair.public)
    socket.set(zmq.CURVE_SECRETKEY, keys.pair.secret)
