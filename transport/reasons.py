"""Error and log texts about connections, the same for every transport."""

from __future__ import annotations

from collections.abc import Iterable


def lost(endpoint: str) -> str:
    return f"the connection to {endpoint} was lost"


def unresolved(host: str | None, endpoint: str) -> str:
    return f"host {host!r} cannot be resolved ({endpoint})"


def mute(endpoint: str) -> str:
    return f"the peer at {endpoint} does not answer the handshake"


def broken_off(endpoint: str) -> str:
    return f"the handshake with {endpoint} was broken off"


def has_no_keys(endpoint: str) -> str:
    return (
        f"the server at {endpoint} does not use CURVE: start it with --secret-key, or connect "
        "without server_key"
    )


def unknown_key(endpoint: str) -> str:
    return (
        f"the server at {endpoint} does not know this client's key: add its public key to the "
        "server's authorized keys, or give the right secret_key"
    )


def broken_off_again(endpoint: str, times: int) -> str:
    return (
        f"{broken_off(endpoint)} {times} times in a row: the server_key is not that server's, it "
        "is no ringback server, or the network breaks handshakes"
    )


def wants_keys(endpoint: str) -> str:
    return (
        f"the server at {endpoint} uses CURVE: give its public key as server_key, and your own "
        f"secret_key"
    )


# A server's logs about itself


def for_trusted_clients(endpoints: Iterable[str]) -> str:
    """The warning of a server on libzmq."""
    return (
        f"libzmq serves {', '.join(endpoints)}: a client can fill the memory of this process, or "
        "abort it; use it for trusted clients only, else the native transport"
    )


# A server's logs about clients


def not_authorized(key: bytes) -> str:
    """The reason for a key in Z85 text, of which it shows a part."""
    return f"its key, {key[:8].decode()}..., is not authorized"


def revoked(user: str) -> str:
    return f"the key of {user or 'this client'} is no longer authorized"
