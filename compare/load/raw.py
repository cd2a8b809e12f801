"""Calls by the protocol itself, without a client: the server's capacity with the cheapest callers.

One thread has all callers, whatever the call style: for each batch of replies it sends a batch of
calls.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import zmq

from ...errors import CallError, DeadlineExceeded
from ...protocol.codec import Encoder, from_server
from ...protocol.messages import Call, Error, Hello, Ping, Pong, Refusal, Reply, Welcome
from ...protocol.values import pack_args
from .batch import Batch
from .callers import Caller

_MAX_SIZE = 1 << 24
# Seconds in which a server must welcome a connection.
_WELCOME = 5.0


class Raw:
    """A connection. Raises RuntimeError if the server does not welcome it."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.RCVHWM, 0)
        self._encode, self._decoder = Encoder().encode, from_server()
        self._ids = itertools.count(1)
        self._waiting: dict[int, Caller] = {}
        self._calls: list[Call] = []
        self._socket.connect(endpoint)
        for batch in self._encode([Hello(os.urandom(16), _MAX_SIZE, "ringback compare")]):
            self._socket.send_multipart(batch)
        match self._received(_WELCOME):
            case [Welcome() as found, *_]:
                self._bounds = found.max_messages, found.max_frames
            case _:
                self.close()
                raise RuntimeError(
                    f"{endpoint} did not welcome a connection within {_WELCOME:.0f} s"
                )

    def close(self) -> None:
        self._context.destroy(linger=0)

    def drive(self, batch: Batch) -> None:
        """Make the calls of all callers, until the window has closed and the last reply is in.

        Calls without a reply in time fail with DeadlineExceeded, as with a client.
        """
        for caller in batch.callers:
            self._next(caller)
        self._send()
        while self._waiting and (messages := self._received(batch.patience)):
            for message in messages:
                self._take(message)
            self._send()
        batch.ends()
        lost, self._waiting = self._waiting, {}
        for caller in lost.values():
            caller.fail(DeadlineExceeded("no reply came in time"))

    def _next(self, caller: Caller) -> None:
        call = caller.begin()
        if call is not None:
            number = next(self._ids)
            self._waiting[number] = caller
            self._calls.append(Call(number, call.method, pack_args(call.args, _MAX_SIZE)))

    def _take(self, message: Any) -> None:
        if type(message) is Ping:
            self._socket.send_multipart(self._encode([Pong(message.token)])[0])
            return
        if not isinstance(message, Reply | Error | Refusal):
            return
        caller = self._waiting.pop(message.id, None)
        if caller is None:
            return  # it was too late
        if isinstance(message, Reply):
            caller.reply(self._decoder.values.plain(message.result))
        else:
            caller.fail(CallError(message.message, code=message.code))
        self._next(caller)

    def _send(self) -> None:
        if self._calls:
            calls, self._calls = self._calls, []
            for batch in self._encode(calls, *self._bounds):
                self._socket.send_multipart(batch)

    def _received(self, seconds: float) -> list[Any]:
        """The next batch of messages; empty if none comes within these seconds."""
        if not self._socket.poll(int(seconds * 1000)):
            return []
        return self._decoder.decode(self._socket.recv_multipart())


async def measure(clients: Sequence[Raw], batch: Batch) -> None:
    """Make the calls; all callers share one connection."""
    clients[0].drive(batch)
