"""Listening sockets, for one server or shared by several processes.

The supervisor of several processes makes the sockets, so this file does not load libzmq.
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

# Maximum connections that wait to be accepted.
BACKLOG = 1024

# Attempts to find a free port that can be shared: another program may take it in between.
_ATTEMPTS = 5

# Error numbers of libzmq and of the system's resolver for a host without an address.
_UNRESOLVED = (
    errno.ENODEV,
    socket.EAI_NONAME,
    socket.EAI_NODATA,
    socket.EAI_AGAIN,
    socket.EAI_FAIL,
)


@dataclass(frozen=True)
class InheritedSocket:
    """A listening socket made by another process: its endpoint, and its descriptor here."""

    endpoint: str
    descriptor: int

    def __str__(self) -> str:
        return f"{self.descriptor}={self.endpoint}"

    @classmethod
    def read(cls, text: str) -> InheritedSocket:
        """Parse the output of `str`."""
        descriptor, endpoint = text.split("=", 1)
        return cls(endpoint, int(descriptor))


def check_shared(endpoint: str) -> None:
    """Raises UsageError for an endpoint that processes cannot share."""
    if not endpoint.startswith(("tcp://", "ipc://")):
        raise UsageError(f"{endpoint}: several processes can share only a tcp port or an ipc path")


def listen(endpoint: str, shares: int) -> tuple[str, list[socket.socket]]:
    """Listen at the endpoint with `shares` sockets.

    Returns the real endpoint and the non-blocking sockets. Raises UsageError if the endpoint is in
    use or unusable. The kernel gives each tcp socket its share of the connections (SO_REUSEPORT):
    if several processes waited on one socket, the same process would tend to be first every time.
    An ipc path has one socket for all.
    """
    check_shared(endpoint)
    any_port = port_of(endpoint) == "*"
    for attempt in range(_ATTEMPTS):
        real, alone = listen_alone(endpoint)
        if real.startswith("ipc://"):
            return real, [alone] * shares
        # Bind alone first: a socket that shares its port could also share that of another server.
        family, address = alone.family, alone.getsockname()
        alone.close()
        try:
            return real, [_listening(family, address, shared=True) for _ in range(shares)]
        except OSError as error:
            if not any_port or error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS - 1:
                raise UsageError(refused(real, error.errno, error.strerror or str(error))) from None
    raise AssertionError("the last attempt returns or raises")


def listen_alone(endpoint: str) -> tuple[str, socket.socket]:
    """Listen at a tcp port or an ipc path. Returns the real endpoint and the non-blocking socket.

    Raises UsageError if the endpoint is in use or unusable.
    """
    try:
        path = path_of(endpoint)
        if path is not None:
            return endpoint, _listening(socket.AF_UNIX, socket_name(path))
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        # Not gevent's getaddrinfo: a gevent server may listen in a hub callback, which must not
        # wait.
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
    where = "0.0.0.0" if host == "*" else host  # noqa: S104 - the user asked for it
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
    # Several processes may wake for one connection. Those that miss it must not wait for the next.
    listener.setblocking(False)
    return listener


def refused(endpoint: str, number: int | None, reason: str) -> str:
    """The error text: why the server cannot listen at the endpoint."""
    if number == errno.EADDRINUSE:
        return in_use(endpoint)
    host = host_of(endpoint)
    if host is not None and number in _UNRESOLVED:
        reason = (
            f"host {host!r} cannot be resolved: give an address of this machine, or * for all of "
            f"them"
        )
    elif host is not None and number == errno.EADDRNOTAVAIL:
        reason = f"{host} is not an address of this machine"
    return f"cannot bind {endpoint}: {reason}"
