"""Native servers in this process, and what a bare connection sees of them."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from processes import SOON
from ringback import Server, Service
from ringback.transport.native import client as native_client
from ringback.transport.native import keeper
from ringback.transport.native import server as native_server

# Seconds, in a hurry.
BEAT, SILENT, TTL = 0.2, 1.0, 0.6


def serving(service: Service, **options: Any) -> Server:
    return Server(service, "tcp://127.0.0.1:*", backend="threading", transport="native", **options)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the transport does after seconds, it does after tenths: heartbeats, and looks at who is
    silent.
    """
    for module, values in (
        (native_client, {"BEAT": BEAT, "SILENT": SILENT, "TTL": TTL, "LOOK": 0.1, "LATE": 0.1}),
        (native_server, {"LOOK": 0.1}),
        (keeper, {"LOOK": 0.02, "STILL": 0.04, "SPEAK": 0.04}),
    ):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)


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
