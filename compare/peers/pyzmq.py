"""Plain ZeroMQ, the lower bound of any library on top of it: a ROUTER that echoes, and DEALERs.

It has no high-water marks, as a ROUTER drops messages beyond its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import zmq

from . import Callback, Errback, ready

LOOP = "threading"
METHODS = ("echo",)
DIFFERENCE = "no codec, no dispatch: bytes in, bytes out; one thread serves, a connection a caller"


def serve(workers: int) -> None:  # noqa: ARG001 - one thread serves
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    router.set_hwm(0)
    router.bind("tcp://127.0.0.1:*")
    ready(router.get_string(zmq.LAST_ENDPOINT).removeprefix("tcp://"))
    while True:
        router.send_multipart(router.recv_multipart())


class Client:
    """A socket for each calling thread, as threads must not share one; fired calls have a socket in
    a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._context = zmq.Context()
        self._own = threading.local()
        self._fired: deque[tuple[bytes, Callback]] = deque()
        self._lock = threading.Lock()
        self._closing = False
        self._bell, bell = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        bell.bind("inproc://bell")
        self._bell.connect("inproc://bell")
        self._thread = threading.Thread(target=self._run, args=(bell,), daemon=True)
        self._thread.start()

    def call(self, _method: str, value: bytes) -> Any:
        dealer = getattr(self._own, "dealer", None)
        if dealer is None:
            dealer = self._own.dealer = self._dealer()
        dealer.send(value)
        return dealer.recv()

    def fire(self, _method: str, value: bytes, *, callback: Callback, errback: Errback) -> None:  # noqa: ARG002
        self._fired.append((value, callback))
        if threading.current_thread() is not self._thread:
            self._ring()

    def close(self) -> None:
        self._closing = True
        self._ring()
        self._thread.join()
        self._context.destroy(linger=0)

    def _ring(self) -> None:
        with self._lock:
            self._bell.send(b"")

    def _dealer(self) -> zmq.Socket[bytes]:
        dealer = self._context.socket(zmq.DEALER)
        dealer.set_hwm(0)
        dealer.connect(f"tcp://{self._endpoint}")
        return dealer

    def _run(self, bell: zmq.Socket[bytes]) -> None:
        """Pipeline fired calls over one socket. The server answers in order, so replies need no
        ids."""
        dealer = self._dealer()
        callbacks: deque[Callback] = deque()
        poller = zmq.Poller()
        poller.register(bell, zmq.POLLIN)
        poller.register(dealer, zmq.POLLIN)
        while not self._closing:
            if bell in dict(poller.poll()):
                bell.recv()
            for reply in _received(dealer):
                callbacks.popleft()(reply)
            while self._fired:
                value, callback = self._fired.popleft()
                callbacks.append(callback)
                dealer.send(value)


def _received(socket: zmq.Socket[bytes]) -> Iterator[bytes]:
    while True:
        try:
            yield socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return


connect = Client
