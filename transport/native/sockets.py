"""Socket options of the native transport, and sending the rest of closed connections."""

from __future__ import annotations

import _socket  # which gevent does not patch
import selectors
import socket as socketlib
import time
from collections.abc import Sequence

from ...backends import native
from ...zmtp.connection import Buffer

# Maximum buffers per system call.
BUFFERS = 512

# TCP keepalive: seconds of silence before the first probe, seconds between probes, and their
# number. Then: seconds after which unacknowledged data end the connection.
_ASK_AFTER, _ASK_EVERY, _ASK_TIMES = 20, 5, 3
_UNACKNOWLEDGED = 20


def tune(connected: _socket.socket) -> None:
    """Set the options of a connected socket: send at once, and detect a lost peer machine."""
    connected.setblocking(False)
    if connected.family == socketlib.AF_UNIX:
        return
    connected.setsockopt(socketlib.IPPROTO_TCP, socketlib.TCP_NODELAY, 1)
    connected.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _ASK_AFTER),
        ("TCP_KEEPINTVL", _ASK_EVERY),
        ("TCP_KEEPCNT", _ASK_TIMES),
        ("TCP_USER_TIMEOUT", _UNACKNOWLEDGED * 1000),
    ):
        option = getattr(socketlib, name, None)  # not all systems have all of them
        if option is not None:
            connected.setsockopt(socketlib.IPPROTO_TCP, option, value)


def send_rest(rest: Sequence[tuple[_socket.socket, list[Buffer]]], seconds: float) -> None:
    """Send the unsent buffers of sockets within `seconds`, then close the sockets.

    It blocks, so it needs a thread of its own.
    """
    end = time.monotonic() + seconds
    with native.selector() as selector:
        for connected, unsent in rest:
            selector.register(connected, selectors.EVENT_WRITE, unsent)
        while selector.get_map() and (remaining := end - time.monotonic()) > 0:
            for key, _ in selector.select(remaining):
                connected = key.fileobj  # type: ignore[assignment]
                try:
                    unsent = after(key.data, connected.sendmsg(key.data[:BUFFERS]))
                except BlockingIOError:
                    continue
                except OSError:
                    unsent = []
                if unsent:
                    selector.modify(connected, selectors.EVENT_WRITE, unsent)
                else:
                    selector.unregister(connected)
    for connected, _ in rest:
        connected.close()


def after(buffers: list[Buffer], taken: int) -> list[Buffer]:
    """The buffers without their first `taken` bytes."""
    for place, buffer in enumerate(buffers):
        if taken < len(buffer):
            return [memoryview(buffer)[taken:] if taken else buffer, *buffers[place + 1 :]]
        taken -= len(buffer)
    return []
