"""A TCP proxy that does to connections what bad networks do."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

Change = Callable[[bytes], bytes]


class Proxy:
    """Passes bytes on between its clients and a server; `change` may alter them on their way to the
    server, `back` on theirs to the
    client, `pause` delays them (seconds), and `cut` ends all connections of the moment."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.change: Change | None = None
        self.back: Change | None = None
        self.pause = 0.0
        self.silent = False
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def close(self) -> None:
        # (closing alone would leave the thread in its accept)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._server)
            except OSError:
                near.close()
                continue
            self._sockets += [near, far]
            for source, target, way in ((near, far, "change"), (far, near, "back")):
                threading.Thread(
                    target=self._pass_on, args=(source, target, way), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, way: str) -> None:
        try:
            while data := source.recv(65536):
                if self.pause:
                    time.sleep(self.pause)
                if self.silent:
                    continue
                change: Change | None = getattr(self, way)
                if change is not None:
                    data = change(data)
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def truncated(data: bytes) -> bytes:
    """Without its end."""
    return data[: random.randrange(len(data) + 1)]


def doubled(data: bytes) -> bytes:
    return data + data


def garbled(data: bytes) -> bytes:
    """With one byte that is another."""
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 + random.randrange(255))]) + data[place + 1 :]
