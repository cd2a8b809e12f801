"""The CURVE keys that were given to a server or a client."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from . import z85
from .authorized import ANYBODY, Authorized
from .keys import KeyPair, public_key, read_secret


class ServerKeys(NamedTuple):
    """A server's own pair, and the keys that it admits."""

    pair: KeyPair
    authorized: Authorized

    @classmethod
    def asked_for(
        cls, secret_key: str | Path | None, authorized_keys: str | Path | None
    ) -> ServerKeys | None:
        """The keys from the user's options; None without keys. Raises UsageError."""
        if secret_key is None:
            if authorized_keys is not None:
                raise UsageError(
                    "authorized_keys is for a server with CURVE: give its secret_key too"
                )
            return None
        if authorized_keys is None:
            raise UsageError(
                "a server with a secret_key needs authorized_keys: give a directory of public "
                f"keys, or {ANYBODY} to admit every client whatever its key"
            )
        return cls(read_secret(secret_key), Authorized(authorized_keys))


class ClientKeys(NamedTuple):
    """A client's own pair, and the public key of its servers."""

    pair: KeyPair
    server: bytes

    @property
    def raw(self) -> tuple[bytes, bytes, bytes]:
        """The server's public key, and this client's public and secret keys, as 32 bytes each."""
        return z85.decode(self.server), *self.pair.raw

    @classmethod
    def asked_for(
        cls, server_key: str | bytes | Path | None, secret_key: str | Path | None
    ) -> ClientKeys | None:
        """The keys from the user's options; None without keys. Raises UsageError.

        Without a secret key, the client gets a new pair.
        """
        if server_key is None:
            if secret_key is not None:
                raise UsageError("secret_key is for a server with CURVE: give the server_key too")
            return None
        server = public_key(server_key)
        pair = KeyPair.fresh() if secret_key is None else read_secret(secret_key)
        if server == pair.secret:
            raise UsageError(
                "server_key is the secret key of secret_key: give the server's public key"
            )
        return cls(pair, server)


def check_encrypts(endpoint: str) -> None:
    """Raises UsageError for an endpoint that cannot use keys."""
    if endpoint.startswith("inproc://"):
        raise UsageError(
            f"{endpoint} is within one process, without encryption and keys: use tcp or ipc with "
            f"keys"
        )
