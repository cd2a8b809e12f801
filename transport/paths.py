"""Unix socket paths of servers: checked before binding, locked while served, removed afterwards.

libzmq deletes any file at an `ipc://PATH` that it binds, and would take the path over from a server
that uses it. So this file checks first, and keeps a lock file beside the path. The supervisor of
several processes uses it too, so it does not load libzmq.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import suppress

from ..errors import UsageError

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a named pipe"),
)


def path_of(endpoint: str) -> str | None:
    """The path of an ipc endpoint; None for other endpoints and for `ipc://*`.

    The server chooses the path of `ipc://*`.
    """
    path = endpoint.removeprefix("ipc://")
    return None if path in (endpoint, "*") else path


def socket_name(path: str) -> str:
    """The system's name of the socket at a path; abstract ones begin with @, as in libzmq."""
    return f"\0{path[1:]}" if path.startswith("@") else path


def in_use(endpoint: str) -> str:
    """The error text for an endpoint in use."""
    return f"{endpoint} is in use: stop the program there, or --bind another endpoint"


class OwnedPaths:
    """The paths that a server listens at. The kernel frees their locks when the process ends."""

    def __init__(self) -> None:
        self._locks: list[tuple[int, str]] = []
        self._sockets: dict[str, tuple[int, int]] = {}

    def take(self, endpoint: str) -> None:
        """Lock the path, and remove an abandoned socket. Raises UsageError for any other file."""
        path = path_of(endpoint)
        if path is None:
            return
        # The kernel guards an abstract name. libzmq still deletes a file of that name, so the
        # checks below apply.
        if not path.startswith("@"):
            self._lock(endpoint, f"{path}.lock")
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return  # no file
        if not stat.S_ISSOCK(mode):
            raise _refused(
                endpoint, path, next((kind for is_it, kind in _KINDS if is_it(mode)), "a device")
            )
        if _is_served(endpoint, path):
            raise UsageError(in_use(endpoint))
        with suppress(OSError):
            os.unlink(path)  # left by a server that was killed

    def keep(self, endpoint: str) -> None:
        """The path is bound: note its socket, which `release` removes."""
        path = path_of(endpoint)
        with suppress(OSError):
            if path is not None:
                self._sockets[path] = _identity(os.lstat(path))

    def release(self) -> None:
        """Remove sockets and locks. Call it when the server no longer listens."""
        for path, identity in self._sockets.items():
            with suppress(OSError):  # libzmq does not always remove its sockets
                if _identity(os.lstat(path)) == identity:
                    os.unlink(path)
        for fd, lock in self._locks:
            with suppress(OSError):
                os.unlink(lock)
            os.close(fd)
        self._sockets.clear()
        self._locks.clear()

    def forked(self) -> None:
        """In a child: drop the locks, so that they end with the parent."""
        for fd, _ in self._locks:
            os.close(fd)
        self._sockets.clear()
        self._locks.clear()

    def _lock(self, endpoint: str, lock: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        while True:
            try:
                fd = os.open(lock, flags, 0o600)
            except OSError as error:
                if os.path.lexists(lock):
                    raise _refused(
                        endpoint, lock, f"not a usable lock file ({error.strerror})"
                    ) from None
                directory = os.path.dirname(os.path.abspath(lock))
                raise UsageError(
                    f"cannot bind {endpoint}: {error.strerror}: {directory} must be a directory "
                    "that the server may write to"
                ) from None
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size:
                os.close(fd)
                raise _refused(endpoint, lock, "not the lock file of a server")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                raise UsageError(in_use(endpoint)) from None
            with suppress(OSError):
                if _identity(os.lstat(lock)) == _identity(status):
                    self._locks.append((fd, lock))
                    return
            os.close(fd)  # its server removed it in between


def _refused(endpoint: str, path: str, kind: str) -> UsageError:
    return UsageError(
        f"cannot bind {endpoint}: {path} is {kind}, and is not replaced: remove it, or --bind "
        f"another path"
    )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_served(endpoint: str, path: str) -> bool:
    """Whether a program listens at the socket. Raises UsageError if that cannot be known."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        number = caller.connect_ex(path)
    if number in (errno.ECONNREFUSED, errno.ENOENT):
        return False
    if number in (0, errno.EAGAIN):
        return True
    raise UsageError(f"cannot bind {endpoint}: the socket {path} is there: {os.strerror(number)}")
