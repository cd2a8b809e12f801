"""Listening sockets: one of a server's own, or several that processes share.

It loads no libzmq: the supervisor of many processes makes the sockets.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Any

from ..backends import native
from ..endpoints import host_of, port_of
from ..errors import UsageError
from .paths import in_use, path_of, socket_name

# Connections that wait to be accepted.
BACKLOG = 1024

# A free port may be taken by somebody else before it is shared: so many are tried.
_ATTEMPTS = 5

# What libzmq and the system's resolver say of a host that has no address.
_UNRESOLVED = (errno.ENODEV, socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN, socket.EAI_FAIL)


@dataclass(frozen=True)
class InheritedSocket:
    """A socket that listens already, made by another process: its endpoint, and its descriptor here."""

    endpoint: str
    descriptor: int

    def __str__(self) -> str:
        return f"{self.descriptor}={self.endpoint}"

    @classmethod
    def read(cls, text: str) -> InheritedSocket:
        """What `str` has written."""
        descriptor, endpoint = text.split("=", 1)
        return cls(endpoint, int(descriptor))


def check_shared(endpoint: str) -> None:
    """Raises UsageError for one that only one process can have."""
    if not endpoint.startswith(("tcp://", "ipc://")):
        raise UsageError(f"{endpoint}: many processes can share a tcp port or an ipc path only")


def listen(endpoint: str, shares: int) -> tuple[str, list[socket.socket]]:
    """Listen there, with so many sockets. Returns the real endpoint and the sockets, which do not block. Raises UsageError when it is
    in use or cannot be had.

    Each tcp socket gets its share of the connections from the kernel (SO_REUSEPORT): of many processes that wait on one socket
    the same one tends to be the first, again and again. An ipc path has one socket for all.
    """
    check_shared(endpoint)
    any_port = port_of(endpoint) == "*"
    for attempt in range(_ATTEMPTS):
        real, alone = listen_alone(endpoint)
        if real.startswith("ipc://"):
            return real, [alone] * shares
        # (Alone at first: whoever shares a port may share that of another server, too.)
        family, address = alone.family, alone.getsockname()
        alone.close()
        try:
            return real, [_listening(family, address, shared=True) for _ in range(shares)]
        except OSError as error:
            if not any_port or error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS - 1:
                raise UsageError(refused(real, error.errno, error.strerror or str(error))) from None
    raise AssertionError("the last attempt returns or raises")


def listen_alone(endpoint: str) -> tuple[str, socket.socket]:
    """Listen at a tcp port or an ipc path. Returns the real endpoint and the socket, which does not block. Raises UsageError when it is
    in use or cannot be had."""
    try:
        path = path_of(endpoint)
        if path is not None:
            return endpoint, _listening(socket.AF_UNIX, socket_name(path))
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        # (a server on gevent may listen in a callback of its hub, where gevent's own must not wait)
        family, _, _, _, address = native.getaddrinfo(
            None if host == "*" else host.strip("[]"),
            None if port == "*" else port,
            type=socket.SOCK_STREAM,
            family=socket.AF_INET6 if "[" in host else socket.AF_INET,
            flags=socket.AI_PASSIVE,
        )[0]
        alone = _listening(family, address)
    except OSError as error:
        raise UsageError(refused(endpoint, error.errno, error.strerror or str(error))) from None
    where = "0.0.0.0" if host == "*" else host  # noqa: S104 - as it was asked for
    return f"tcp://{where}:{alone.getsockname()[1]}", alone


def _listening(family: int, address: Any, *, shared: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    # One process accepts; another that woke for the same connection must not wait for the next.
    listener.setblocking(False)
    return listener


def refused(endpoint: str, number: int | None, reason: str) -> str:
    """Why one cannot listen there, for people."""
    if number == errno.EADDRINUSE:
        return in_use(endpoint)
    host = host_of(endpoint)
    if host is not None and number in _UNRESOLVED:
        reason = f"host {host!r} cannot be resolved: give an address of this machine, or * for all of them"
    elif host is not None and number == errno.EADDRNOTAVAIL:
        reason = f"{host} is no address of this machine"
    return f"cannot bind {endpoint}: {reason}"
