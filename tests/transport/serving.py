"""Native servers in this process, and what a bare connection sees of them."""

from __future__ import annotations

import socket
from typing import Any

from processes import SOON
from ringback import Server, Service


def serving(service: Service, **options: Any) -> Server:
    return Server(service, "tcp://127.0.0.1:*", backend="threading", transport="native", **options)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end has closed it, within a while."""
    connection.settimeout(SOON)
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True
