"""One ZeroMQ socket on one event loop: the only place that reads a socket's events.

A ZeroMQ descriptor is edge-triggered and signals any event: after every send and receive the events must be looked at
again, and whatever input remains must get another turn of the loop, or it waits for ever. Every operation on the socket goes through
its pump, so that nobody can forget. It knows frames, not what is in them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import zmq
import zmq.backend

from ...backends.base import Loop
from ...runtime import forks
from ..turns import MESSAGES_PER_TURN, TURN, contain

POLLIN = int(zmq.POLLIN)
NOBLOCK = int(zmq.NOBLOCK)
SNDMORE_NOBLOCK = int(zmq.SNDMORE) | NOBLOCK
EVENTS = int(zmq.EVENTS)
RCVMORE = int(zmq.RCVMORE)

# pyzmq's own send, without the layer for the draft sockets' options above it.
send: Callable[..., Any] = zmq.backend.Socket.send


def monitor(socket: zmq.Socket[bytes], context: zmq.Context[Any], events: int) -> zmq.Socket[bytes]:
    """A socket on which these events of another arrive. To be closed after that one."""
    address = f"inproc://ringback.monitor.{os.urandom(8).hex()}"  # pyzmq's own choice of a name may be taken
    socket.monitor(address, events)
    pair: zmq.Socket[bytes] = context.socket(zmq.PAIR)
    try:
        pair.set(zmq.LINGER, 0)
        # A full monitor would block libzmq's I/O thread, and with it every socket of the context.
        pair.set(zmq.RCVHWM, 0)
        pair.connect(address)
    except BaseException:
        pair.close(0)
        raise
    return pair


# Of libzmq, which its Python binding has no name for: whether what arrives stays in the pieces of 8 KiB that it arrived in.
_ZERO_COPY_RECV = 10


def new_context() -> zmq.Context[Any]:
    """One whose sockets copy what arrives, which costs nothing that can be measured: else a batch of 40 bytes, come by itself, would hold
    8 KiB for as long as it waits to be read."""
    context: zmq.Context[Any] = zmq.Context()
    with suppress(zmq.ZMQError):
        context.set(_ZERO_COPY_RECV, 0)
    return context


# Bytes from which on a frame is handed to libzmq uncopied, where that can be: nobody changes it later.
UNCOPIED = 65536


def _send_large(socket: zmq.Socket[bytes], frame: Any, flags: int) -> None:
    source: Any = frame.obj if type(frame) is memoryview else None
    if isinstance(source, zmq.Frame) and len(source) == len(frame):
        send(socket, source, flags, False)  # it has arrived as it leaves
    else:
        # (Copied under gevent: pyzmq would start a thread to wait for libzmq, and wait in the hub, where nobody may.)
        send(socket, frame, flags, "gevent" in sys.modules)


class Pump:
    """Hands the first frame of each message to `receive`, which takes the others from the socket and deals with it, and calls
    `turn_ended` after each turn, in which what was gathered is sent.

    What these raise is contained, as `turns.py` says."""

    def __init__(
        self,
        loop: Loop,
        socket: zmq.Socket[bytes],
        receive: Callable[[bytes], object],
        turn_ended: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._get: Callable[[int], Any] = socket.get
        self._recv: Callable[[int], bytes] = socket.recv
        self._receive = receive
        self._turn_ended = turn_ended
        self._scheduled = False
        self._sent = False  # since the events were looked at
        self.dry = False  # whether the last turn has taken all that there was
        self._closed = False
        forks.inherit(self)
        self._watch = loop.watch(int(socket.get(zmq.FD)), self.turn)
        self.schedule()  # what came before the watch began made its edge already

    def turn(self) -> None:
        """Take what has come, at most so many messages, then send what was gathered."""
        if self._closed:
            return
        get, recv, receive = self._get, self._recv, self._receive
        left = MESSAGES_PER_TURN
        self._sent = failed = False
        try:
            try:
                first = recv(NOBLOCK)  # mostly there is something: this takes one look less
            except zmq.Again:
                pass
            else:
                receive(first)
                left -= 1
                begun = 0.0
                while left and not self._closed and get(EVENTS) & POLLIN:
                    begun = begun or time.monotonic()
                    receive(recv(NOBLOCK))
                    left = left - 1 if time.monotonic() - begun < TURN else 0
        except BaseException as error:
            self._contain(error)
            failed = True
        self.dry = left > 0 and not failed
        if not self._closed:
            try:
                self._turn_ended()
            except BaseException as error:
                self._contain(error)
                failed = True
        if self._sent or not left or failed:  # whatever was raised must not cost the edge
            self._look_again()

    def drain(self) -> None:
        """Take everything that has come, now: for what must be known before something else is believed."""
        while not self._closed and self._get(EVENTS) & POLLIN:
            try:
                self._receive(self._recv(NOBLOCK))
            except BaseException as error:
                self._contain(error)

    def _contain(self, error: BaseException) -> None:
        """A message could not be dealt with, or what was gathered could not be sent: no other message is to suffer from that."""
        if not self._loop.may_be_cut():
            while not self._closed and self._get(RCVMORE):
                self._recv(NOBLOCK)  # its other frames
        contain(self._loop, error, "a turn of a socket failed")

    def send(self, frames: list[Any]) -> bool:
        """Send one message; False if its pipe is full. Raises ZMQError for a ROUTER's peer that is gone."""
        self._sent = True
        socket = self._socket
        try:
            for frame in frames[:-1]:
                if len(frame) < UNCOPIED:
                    send(socket, frame, SNDMORE_NOBLOCK)
                else:
                    _send_large(socket, frame, SNDMORE_NOBLOCK)
            last = frames[-1]
            if len(last) < UNCOPIED:
                send(socket, last, NOBLOCK)
            else:
                _send_large(socket, last, NOBLOCK)
        except zmq.Again:
            return False
        return True

    def schedule(self) -> None:
        """Another turn soon."""
        self.dry = False
        if not self._scheduled:
            self._loop.call_soon(self._scheduled_turn)  # first: it may raise, at the end of a caller's stack
            self._scheduled = True

    def _scheduled_turn(self) -> None:
        self._scheduled = False
        self.turn()

    def _look_again(self) -> None:
        self._sent = False
        if not self._closed and self._get(EVENTS) & POLLIN:
            self.schedule()

    def flushed(self) -> None:
        """To be called after sending outside a turn: sending may have swallowed the edge of an arrival."""
        self._look_again()

    def forked(self) -> None:
        """In a child: what comes is the parent's, and nothing is to be sent."""
        if self._closed:
            return
        self._closed = True
        self.send = lambda frames: False  # type: ignore[method-assign] # noqa: ARG005
        if not self._loop.shares_watches:
            self._watch.cancel()

    def close(self, linger: int = 0) -> None:
        """Close the socket; what it has not sent yet is kept for `linger` milliseconds."""
        self._closed = True
        if not self._socket.closed:
            self._watch.cancel()  # before the close: the descriptor's number is used again at once
            self._socket.disable_monitor()  # before its monitor is closed, or the next event blocks libzmq's I/O thread for ever
            self._socket.close(linger)
