"""What is done to a socket of the native transport, beside reading and writing in turns."""

from __future__ import annotations

import _socket  # which gevent does not patch
import selectors
import socket as socketlib
import time
from collections.abc import Sequence

from ...backends import native
from ...zmtp.connection import Buffer

# Buffers that one call of the system takes.
BUFFERS = 512

# Seconds: TCP finds out that the other machine is gone by asking after so many of silence, as often and as many times as this says; and
# what it does not acknowledge within these is lost.
_ASK_AFTER, _ASK_EVERY, _ASK_TIMES = 20, 5, 3
_UNACKNOWLEDGED = 20


def tune(connected: _socket.socket) -> None:
    """Send at once, and find out when the other machine is gone."""
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
    """Send what sockets have not taken, for so long at most, then close them. It waits: for a thread of its own."""
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
    """What is left of them behind so many bytes."""
    for place, buffer in enumerate(buffers):
        if taken < len(buffer):
            return [memoryview(buffer)[taken:] if taken else buffer, *buffers[place + 1 :]]
        taken -= len(buffer)
    return []
