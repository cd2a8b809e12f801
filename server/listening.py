"""Listening sockets that several processes share, and the lock that keeps a second server from an ipc path.

It does not import zmq: the supervisor of many processes makes the sockets, and ZeroMQ lives only in the processes that serve.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError

BACKLOG = 1024


@dataclass(frozen=True)
class Inherited:
    """A socket that listens already, made by another process: its endpoint, and its descriptor here."""

    endpoint: str
    descriptor: int

    def __str__(self) -> str:
        return f"{self.descriptor}={self.endpoint}"

    @classmethod
    def read(cls, text: str) -> Inherited:
        """What `str` has written."""
        descriptor, endpoint = text.split("=", 1)
        return cls(endpoint, int(descriptor))


def listen(endpoint: str, shares: int) -> tuple[str, list[socket.socket]]:
    """Listen there, with so many sockets. Returns the real endpoint and the sockets, which do not block. Raises UsageError when it is
    in use or cannot be had.

    Each tcp socket gets its share of the connections from the kernel (SO_REUSEPORT): of many processes that wait on one socket
    the same one tends to be the first, again and again. An ipc path has one socket for all.
    """
    try:
        if endpoint.startswith("ipc://"):
            return endpoint, [_listen_at_path(endpoint.removeprefix("ipc://"))] * shares
        if endpoint.startswith("tcp://"):
            return _listen_at_port(endpoint, shares)
    except OSError as error:
        raise UsageError(refused(endpoint, error.errno, error.strerror or str(error))) from None
    raise UsageError(f"{endpoint}: many processes can share a tcp or an ipc endpoint only")


def _listen_at_path(path: str) -> socket.socket:
    if os.path.exists(path):
        os.unlink(path)  # left by one that was killed: whoever calls this has its lock
    return _listening(socket.AF_UNIX, path)


def _listen_at_port(endpoint: str, shares: int) -> tuple[str, list[socket.socket]]:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    family, _, _, _, address = socket.getaddrinfo(
        None if host == "*" else host.strip("[]"),
        None if port == "*" else port,
        type=socket.SOCK_STREAM,
        family=socket.AF_INET6 if "[" in host else socket.AF_INET,
        flags=socket.AI_PASSIVE,
    )[0]
    # Alone at first: whoever shares a port may share that of another server, too.
    with _listening(family, address) as alone:
        address = alone.getsockname()
    where = "0.0.0.0" if host == "*" else host  # noqa: S104 - as it was asked for
    listeners = [_listening(family, address, shared=True) for _ in range(shares)]
    return f"tcp://{where}:{address[1]}", listeners


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
        return f"{endpoint} is in use: stop what listens there, or --bind another endpoint"
    return f"cannot bind {endpoint}: {reason}"


class Locks:
    """The ipc paths that are ours. libzmq would take a path over from a server that uses it, so a lock beside it says who has it. The
    kernel frees it when its process dies, however that happens."""

    def __init__(self) -> None:
        self._held: list[tuple[int, str]] = []

    def take(self, endpoint: str) -> None:
        """Raises UsageError when another has it."""
        if not endpoint.startswith("ipc://"):
            return
        path = endpoint.removeprefix("ipc://") + ".lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot bind {endpoint}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise UsageError(
                f"{endpoint} is in use: stop the server that has it, or --bind another endpoint"
            ) from None
        self._held.append((fd, path))

    def release(self) -> None:
        """To be called when nobody listens there any more."""
        for fd, path in self._held:
            for left in (path.removesuffix(".lock"), path):  # libzmq does not always remove its own
                try:
                    os.unlink(left)
                except FileNotFoundError:
                    pass
            os.close(fd)
        self._held.clear()
