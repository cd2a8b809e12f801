"""The keys that a server or a client was given, and what they are for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from . import z85
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


class ClientKeys(NamedTuple):
    """A client's own pair, and the public key of its servers."""

    pair: KeyPair
    server: bytes

    @property
    def raw(self) -> tuple[bytes, bytes, bytes]:
        """The server's public key, and this client's public and secret ones, as 32 bytes each."""
        return z85.decode(self.server), *self.pair.raw

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


def check_encrypts(endpoint: str) -> None:
    """Raises UsageError where keys would mean nothing."""
    if endpoint.startswith("inproc://"):
        raise UsageError(
            f"{endpoint} is within one process, where nothing is encrypted and no key is asked for: use tcp or ipc with keys"
        )
