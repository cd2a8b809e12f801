"""What keys mean for sockets: the options of a server's and of a client's, and what the server knows of who is connected."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from ..backends.base import Loop
from ..errors import UsageError
from . import zap
from .authorized import ANYBODY, Authorized
from .keys import KeyPair, public_key, read_secret


class ServerKeys(NamedTuple):
    """A server's own pair, and whose keys it lets in."""

    pair: KeyPair
    authorized: Authorized

    @classmethod
    def asked_for(
        cls, secret_key: str | Path | None, authorized_keys: str | Path | None
    ) -> ServerKeys | None:
        """None where nobody asks for it. Raises UsageError."""
        if secret_key is None:
            if authorized_keys is not None:
                raise UsageError("authorized_keys is for a server with CURVE: give its secret_key too")
            return None
        if authorized_keys is None:
            raise UsageError(
                f"a server with a secret_key has to know whom to let in: give authorized_keys, a directory of public keys, or {ANYBODY} "
                "for every client whatever its key"
            )
        return cls(read_secret(secret_key), Authorized(authorized_keys))


class Guard:
    """A server's: who may connect to its socket, and whose each connection is."""

    def __init__(
        self, keys: ServerKeys, context: zmq.Context[Any], loop: Loop, refused: Callable[[str, bytes], object]
    ) -> None:
        """Raises UsageError where somebody else answers for the context."""
        self._pair, self.authorized = keys
        self._context = context
        self._domain = zap.Domain(b"ringback." + os.urandom(8).hex().encode(), self.authorized, loop, refused)
        zap.join(context, self._domain)

    def protect(self, socket: zmq.Socket[Any]) -> None:
        """To be called before it is bound."""
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, self._pair.secret)
        socket.set(zmq.ZAP_DOMAIN, self._domain.name)
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def lets_in(self, key: str) -> bool:
        """Whether it would let this key in now; what was read last counts."""
        return self.authorized.every or key.encode() in self.authorized.names

    def close(self) -> None:
        """After the socket, and before its context is terminated."""
        zap.leave(self._context, self._domain)


def key_of(frame: zmq.Frame) -> str:
    """Whose connection a frame came over, as it was told in the handshake: the key, in Z85 text; "" without one."""
    return _told(frame, zap.KEY)


def user_of(frame: zmq.Frame) -> str:
    """The name of that key."""
    return _told(frame, "User-Id")


def _told(frame: zmq.Frame, what: str) -> str:
    try:
        return str(frame.get(what))
    except zmq.ZMQError:
        return ""


class ClientKeys(NamedTuple):
    """A client's own pair, and the public key of its servers."""

    pair: KeyPair
    server: bytes

    @classmethod
    def asked_for(
        cls, server_key: str | bytes | Path | None, secret_key: str | Path | None
    ) -> ClientKeys | None:
        """None where nobody asks for it; a new pair where no secret key is given. Raises UsageError."""
        if server_key is None:
            if secret_key is not None:
                raise UsageError("secret_key is for a server with CURVE: give the server_key too")
            return None
        server = public_key(server_key)
        pair = KeyPair.fresh() if secret_key is None else read_secret(secret_key)
        if server == pair.secret:
            raise UsageError("server_key is the secret key of secret_key: give the server's public key")
        return cls(pair, server)

    def protect(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """To be called before it connects. Raises UsageError."""
        check_encrypts(endpoint)
        socket.set(zmq.CURVE_SERVERKEY, self.server)
        socket.set(zmq.CURVE_PUBLICKEY, self.pair.public)
        socket.set(zmq.CURVE_SECRETKEY, self.pair.secret)


def check_encrypts(endpoint: str) -> None:
    """Raises UsageError where libzmq would pass over the keys in silence."""
    if endpoint.startswith("inproc://"):
        raise UsageError(
            f"{endpoint} is within one process, where nothing is encrypted and no key is asked for: use tcp or ipc with keys"
        )
