"""The interface to a service manager: notifications (sd_notify) and inherited sockets (LISTEN_FDS).

Both are systemd's protocols, sd_notify(3) and sd_listen_fds(3); other managers implement them too.
If no manager started this process, nothing is sent and no socket is inherited.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from ...errors import UsageError
from ...transport.listening import InheritedSocket

# Environment variables for this process only, not for its children.
_OWN = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)
# The descriptor of the first inherited socket.
_FIRST = 3

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"


def notify(*lines: str) -> None:
    """Send the lines to the manager in one datagram. Errors are ignored: they do no harm."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with (
        suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.setblocking(False)  # the manager may be slow, and the loop must not wait for it
        sender.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
        sender.send("\n".join(lines).encode())


def reloading() -> None:
    """Notify the manager that a reload has begun; READY ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_interval() -> float | None:
    """Seconds between two keep-alive notifications; None if the manager expects none."""
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
        own = int(os.environ.get("WATCHDOG_PID", os.getpid())) == os.getpid()
    except ValueError:
        return None
    return seconds / 2 if own and seconds > 0 else None


def inherited_sockets() -> list[InheritedSocket]:
    """The listening sockets inherited from the manager. Raises UsageError for other sockets."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    try:
        count = int(os.environ.get("LISTEN_FDS", ""))
    except ValueError:
        return []
    return [_inherited(descriptor) for descriptor in range(_FIRST, _FIRST + count)]


def _inherited(descriptor: int) -> InheritedSocket:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            listens = copy.type == socket.SOCK_STREAM and copy.getsockopt(
                socket.SOL_SOCKET, socket.SO_ACCEPTCONN
            )
            family, address = copy.family, copy.getsockname()
    except OSError as error:
        raise UsageError(f"LISTEN_FDS: descriptor {descriptor}: {error.strerror}") from None
    os.set_inheritable(descriptor, False)
    os.set_blocking(descriptor, False)
    if listens and family == socket.AF_UNIX and address:
        path = address if isinstance(address, str) else "@" + address[1:].decode()
        return InheritedSocket(f"ipc://{path}", descriptor)
    if listens and family in (socket.AF_INET, socket.AF_INET6):
        host = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        return InheritedSocket(f"tcp://{host}:{address[1]}", descriptor)
    raise UsageError(
        f"LISTEN_FDS: descriptor {descriptor} is not a listening TCP or Unix stream socket"
    )


def without_own(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the manager's variables, for a child process."""
    return {name: value for name, value in environment.items() if name not in _OWN}
