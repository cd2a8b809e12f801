"""The endpoints that a server's socket is bound to."""

from __future__ import annotations

import os
from typing import Any

import zmq

from ...endpoints import port_of
from ...errors import UsageError
from ..listening import InheritedSocket, refused
from ..paths import OwnedPaths


class Bound:
    """The endpoints a socket is bound to."""

    def __init__(self) -> None:
        self.endpoints: list[str] = []
        self._paths = OwnedPaths()

    def bind(self, socket: zmq.Socket[Any], place: str | InheritedSocket) -> None:
        """Bind, and note the real endpoint. Raises UsageError if it is in use or unusable."""
        endpoint = place if isinstance(place, str) else place.endpoint
        try:
            if isinstance(place, str):
                self._paths.take(endpoint)
                socket.bind(endpoint)
                self._paths.keep(endpoint)
            else:
                socket.set(zmq.USE_FD, os.dup(place.descriptor))  # libzmq closes it
                socket.bind(endpoint)
                socket.set(zmq.USE_FD, -1)
        except zmq.ZMQError as error:
            raise UsageError(refused(endpoint, error.errno, error.strerror)) from None
        if "*" in endpoint or port_of(endpoint) == "*":
            endpoint = str(socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0")
        self.endpoints.append(endpoint)

    def forked(self) -> None:
        """In a child: leave the paths to the parent."""
        self._paths.forked()

    def release(self) -> None:
        """Release the ipc paths. Call it after the socket is closed."""
        self._paths.release()
