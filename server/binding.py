"""What a server is bound to, and for ipc the lock that keeps a second server away."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Any

import zmq

from ..errors import UsageError


class Bound:
    """The endpoints a socket is bound to, and the locks of those that are ipc paths."""

    def __init__(self) -> None:
        self.endpoints: list[str] = []
        self._locks: list[tuple[int, str]] = []

    def bind(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Bind, and remember the real endpoint. Raises UsageError when it is in use or cannot be had."""
        if endpoint.startswith("ipc://"):
            self._lock(endpoint)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(
                    f"{endpoint} is in use: stop what listens there, or --bind another endpoint"
                ) from None
            raise UsageError(f"cannot bind {endpoint}: {error.strerror}") from None
        self.endpoints.append(
            str(socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0") if "*" in endpoint else endpoint
        )

    def release(self) -> None:
        """Let go of the ipc paths. To be called after the socket is closed."""
        for fd, path in self._locks:
            for left in (path.removesuffix(".lock"), path):  # libzmq does not always remove its own
                try:
                    os.unlink(left)
                except FileNotFoundError:
                    pass
            os.close(fd)
        self._locks.clear()

    def _lock(self, endpoint: str) -> None:
        """libzmq would take the path over from a server that uses it, so a lock beside it says who has it. The kernel
        frees it when its process dies, however that happens."""
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
        self._locks.append((fd, path))
