"""One ZeroMQ socket on one event loop: the only place that reads a socket's events.

A ZeroMQ descriptor is edge-triggered and signals any event. So after every send and receive the
events must be checked again, and any remaining input must get another turn of the loop, or it waits
for ever. Every operation on the socket goes through its pump, which makes these checks. The pump
does not decode frames.
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

# pyzmq's inner send, without the layer that handles options of draft sockets.
send: Callable[..., Any] = zmq.backend.Socket.send


def monitor(socket: zmq.Socket[bytes], context: zmq.Context[Any], events: int) -> zmq.Socket[bytes]:
    """A socket that receives these events of another socket. Close it after that one."""
    # pyzmq's own choice of a name may be taken.
    address = f"inproc://ringback.monitor.{os.urandom(8).hex()}"
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


# ZMQ_ZERO_COPY_RECV of libzmq, which pyzmq has no name for: whether received messages stay in the 8
# KiB blocks in which they arrived.
_ZERO_COPY_RECV = 10


def new_context() -> zmq.Context[Any]:
    """A context whose sockets copy received messages, at no measurable cost.

    Without the copy, a batch of 40 bytes that arrives alone would hold 8 KiB until it is read.
    """
    context: zmq.Context[Any] = zmq.Context()
    with suppress(zmq.ZMQError):
        context.set(_ZERO_COPY_RECV, 0)
    return context


# Minimum bytes of a frame that libzmq gets uncopied if possible. Such frames never change later.
UNCOPIED = 65536


def _send_large(socket: zmq.Socket[bytes], frame: Any, flags: int) -> None:
    source: Any = frame.obj if type(frame) is memoryview else None
    if isinstance(source, zmq.Frame) and len(source) == len(frame):
        send(socket, source, flags, False)  # a received frame, sent on unchanged
    else:
        # Copied under gevent: pyzmq would start a thread to wait for libzmq, and block the hub.
        send(socket, frame, flags, "gevent" in sys.modules)


class Pump:
    """Passes the first frame of each message to `receive`, and calls `turn_ended` after each turn.

    `receive` takes the other frames from the socket and handles the message. `turn_ended` sends the
    queued messages. Their exceptions are contained as in `turns.py`.
    """

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
        self._sent = False  # whether a message was sent since the last check of the events
        self.dry = False  # whether the last turn took all messages
        self._closed = False
        forks.inherit(self)
        self._watch = loop.watch(int(socket.get(zmq.FD)), self.turn)
        self.schedule()  # for messages whose edge came before the watch

    def turn(self) -> None:
        """Take the received messages, up to the limits of a turn, then send the queued ones."""
        if self._closed:
            return
        get, recv, receive = self._get, self._recv, self._receive
        left = MESSAGES_PER_TURN
        self._sent = failed = False
        try:
            try:
                first = recv(NOBLOCK)  # there mostly is a message: this saves a check
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
        if self._sent or not left or failed:  # an exception must not lose the edge
            self._look_again()

    def drain(self) -> None:
        """Take all received messages now, before the caller relies on other information."""
        while not self._closed and self._get(EVENTS) & POLLIN:
            try:
                self._receive(self._recv(NOBLOCK))
            except BaseException as error:
                self._contain(error)

    def _contain(self, error: BaseException) -> None:
        """Contain a failure to handle or send a message, so that it harms no other message."""
        if not self._loop.may_be_cut():
            while not self._closed and self._get(RCVMORE):
                self._recv(NOBLOCK)  # the other frames of the message
        contain(self._loop, error, "socket turn failed")

    def send(self, frames: list[Any]) -> bool:
        """Send one message; False if its pipe is full. A ROUTER raises ZMQError for a lost peer."""
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
        """Schedule another turn soon."""
        self.dry = False
        if not self._scheduled:
            self._loop.call_soon(self._scheduled_turn)  # first, as it may raise a RecursionError
            self._scheduled = True

    def _scheduled_turn(self) -> None:
        self._scheduled = False
        self.turn()

    def _look_again(self) -> None:
        self._sent = False
        if not self._closed and self._get(EVENTS) & POLLIN:
            self.schedule()

    def flushed(self) -> None:
        """Call this after sending outside a turn: the send may have consumed an arrival's edge."""
        self._look_again()

    def forked(self) -> None:
        """In a child: receive and send nothing; the socket belongs to the parent."""
        if self._closed:
            return
        self._closed = True
        self.send = lambda frames: False  # type: ignore[method-assign] # noqa: ARG005
        if not self._loop.shares_watches:
            self._watch.cancel()

    def close(self, linger: int = 0) -> None:
        """Close the socket; unsent messages are kept for `linger` milliseconds."""
        self._closed = True
        if not self._socket.closed:
            self._watch.cancel()  # before the close: the descriptor's number may be reused at once
            # Before the monitor is closed, or the next event blocks libzmq's I/O thread for ever.
            self._socket.disable_monitor()
            self._socket.close(linger)
