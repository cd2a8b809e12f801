"""The page that Prometheus scrapes, served by native threads.

It answers even if the event loop is blocked, and is independent of gevent's patches.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ..backends import native
from ..endpoints import host_and_port
from ..errors import UsageError

log = logging.getLogger("ringback.metrics")

PATH = "/metrics"
# Maximum bytes and seconds of a request, and maximum requests at once.
_REQUEST, _TIMEOUT, _AT_ONCE = 8192, 2.0, 8


class MetricsPage:
    """Answers `GET /metrics` at that address until closed.

    It asks the `registry` at each scrape. Raises UsageError if it cannot listen.
    """

    def __init__(self, where: str, registry: CollectorRegistry) -> None:
        host, port = host_and_port(where, "metrics")
        self._registry = registry
        self._closed = False
        self._turns: Any = native.SimpleQueue()  # one per concurrent request
        for turn in range(_AT_ONCE):
            self._turns.put(turn)
        try:
            self._listener = native.listen(host, port)
        except OSError as error:
            raise UsageError(
                f"metrics: cannot listen at {where}: {error.strerror or error}"
            ) from None
        port = self._listener.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"
        native.start_thread(self._accept)
        log.info("metrics at %s", self.url)

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(2)  # ends `accept`
        self._listener.close()

    def _accept(self) -> None:
        while True:
            turn = self._turns.get()
            try:
                connection = native.accept(self._listener)
            except OSError:
                if self._closed:
                    return
                self._turns.put(turn)
                native.sleep(0.1)  # perhaps no descriptor is free
                continue
            try:
                native.start_thread(partial(self._serve, connection, turn))
            except RuntimeError:  # no thread can be started
                connection.close()
                self._turns.put(turn)

    def _serve(self, connection: Any, turn: int) -> None:
        try:
            with connection, suppress(OSError):
                connection.sendall(self._answer(_head(connection)))
        finally:
            self._turns.put(turn)

    def _answer(self, head: str) -> bytes:
        line, _, rest = head.partition("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response("400 Bad Request", b"not an HTTP/1.1 request\n")
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return _response(
                "405 Method Not Allowed", b"GET and HEAD only\n", "Allow: GET, HEAD\r\n"
            )
        if target.partition("?")[0] != PATH:
            return _response("404 Not Found", f"metrics are at {PATH}\n".encode())
        try:
            encoder, kind = choose_encoder(_header(rest, "accept"))
            body = encoder(self._registry)
        except Exception:
            log.exception("scrape failed")
            return _response(
                "500 Internal Server Error", b"the scrape failed: see the server's log\n"
            )
        response = _response("200 OK", body, kind=kind)
        return response if method == "GET" else response[: response.index(b"\r\n\r\n") + 4]


def _head(connection: Any) -> str:
    data, until = b"", time.monotonic() + _TIMEOUT
    while b"\r\n\r\n" not in data and len(data) < _REQUEST:
        connection.settimeout(max(0.001, until - time.monotonic()))
        more = connection.recv(_REQUEST - len(data))
        if not more:
            break
        data += more
    connection.settimeout(_TIMEOUT)
    return data.partition(b"\r\n\r\n")[0].decode("latin-1")


def _header(lines: str, name: str) -> str:
    for line in lines.split("\r\n"):
        found, _, value = line.partition(":")
        if found.strip().lower() == name:
            return value.strip()
    return ""


def _response(
    status: str, body: bytes, more: str = "", kind: str = "text/plain; charset=utf-8"
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: "
        f"{len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body
