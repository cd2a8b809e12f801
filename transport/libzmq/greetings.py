"""Reads a server's security mechanism from its greeting, before any handshake.

A client asks for it if libzmq cannot tell, as the connection ended before libzmq read the greeting.
"""

from __future__ import annotations

import _socket
from contextlib import suppress
from typing import Any

from ...backends import native
from ..paths import socket_name

# Maximum seconds in total.
PATIENCE = 2.0

# The signature of a greeting, and version 3 (ZMTP 3.1, https://rfc.zeromq.org/spec/37/). A peer
# that has read that much sends its whole greeting.
_HELLO = b"\xff" + bytes(8) + b"\x7f\x03"
# Offset and length of the mechanism in a greeting.
_BEGINS, _LONG = 12, 20


def mechanism_of(endpoint: str) -> str:
    """The mechanism, NULL or CURVE; "" if the peer sends no greeting.

    It blocks the calling thread, and not a hub.
    """
    with suppress(OSError, ValueError):
        kind, address = _address(endpoint)
        connection = _socket.socket(kind, _socket.SOCK_STREAM)  # which gevent does not patch
        try:
            connection.settimeout(PATIENCE)
            connection.connect(address)
            connection.send(_HELLO)
            greeting = b""
            while len(greeting) < _BEGINS + _LONG:
                if not (more := connection.recv(64)):
                    return ""
                greeting += more
        finally:
            connection.close()
        return greeting[_BEGINS : _BEGINS + _LONG].rstrip(b"\0").decode("ascii", "replace")
    return ""


def _address(endpoint: str) -> tuple[int, Any]:
    transport, _, place = endpoint.partition("://")
    if transport == "ipc":
        return _socket.AF_UNIX, socket_name(place)
    host, _, port = place.rpartition(":")
    kind, *_, address = native.getaddrinfo(host.strip("[]"), int(port), type=_socket.SOCK_STREAM)[0]
    return kind, address
