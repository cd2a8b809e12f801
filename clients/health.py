"""`ringback health`: whether a server takes calls, asked as a probe asks every few seconds: quickly, and with few imports.

It says hello and a ping on a socket of its own, without a client around it. The server's loop answers both by itself, before any
handler, interceptor or bound: so a full server is alive, and one whose loop stands still is not.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import zmq

from .. import errors
from ..endpoints import connectable
from ..protocol import codec
from ..protocol.messages import Bye, Drain, Fault, FromServer, Hello, Ping, Pong, Welcome
from ..protocol.values import FRAME_BYTES
from ..terminal import fail, guarded, printable, say
from ..transport.libzmq.handshakes import HANDSHAKE_FAILED, Handshakes
from ..version import __version__

if TYPE_CHECKING:
    from ..security.curve import ClientKeys

# Seconds for the answer, where nothing else is said.
TIMEOUT = 2.0

# Connections that are made at most: with many processes behind one endpoint each of them reaches another by chance, and one process
# that is going or stands still says nothing of the others.
TRIES = 5

# Milliseconds for the leave-taking.
LEAVE = 100

_WATCHED = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | HANDSHAKE_FAILED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)


def asked(words: Sequence[str]) -> tuple[str, float] | None:
    """The endpoint and the timeout that the words after `ringback health` say in the plain way, as a probe does; None where it takes
    the whole command line to read them, or to say what is wrong with them."""
    timeout = TIMEOUT
    if len(words) == 3 and "--timeout" in words[:2]:
        at = words.index("--timeout")
        try:
            timeout = float(words[at + 1])
        except ValueError:
            return None
        words = [*words[:at], *words[at + 2 :]]
    if len(words) != 1 or words[0].startswith("-") or not 0 <= timeout < math.inf:
        return None
    return words[0], timeout


def run(endpoint: str, timeout: float, keys: ClientKeys | None = None) -> int:
    """Tell it in one line. Returns the exit status."""
    return guarded(lambda: _run(endpoint, timeout, keys))


def _run(endpoint: str, timeout: float, keys: ClientKeys | None) -> int:
    try:
        # (access rules may keep the name from who may call nothing)
        service = check(connectable(endpoint), timeout, keys) or "the server"
    except errors.UsageError as error:
        return fail(str(error))
    except errors.CallError as error:
        return fail(f"{error.code}: {error}")
    except KeyboardInterrupt:
        return 130
    say(printable(f"ringback: {service} at {endpoint} takes calls"))
    return 0


def check(endpoint: str, timeout: float, keys: ClientKeys | None = None) -> str:
    """The name of the service that takes calls there. Raises an error of `ringback.errors` as soon as it is known that none does, and
    DeadlineExceeded where nobody has answered after `timeout` seconds."""
    if endpoint.startswith("inproc://"):
        raise errors.UsageError(f"{endpoint} is within one process: a probe needs a tcp or an ipc endpoint")
    start = time.monotonic()
    context: zmq.Context[Any] = zmq.Context()
    tries: list[_Try] = []
    try:
        while True:
            seconds = time.monotonic() - start
            silent = [one for one in tries if not one.pong]
            if seconds >= timeout:
                break
            if len(tries) < TRIES and (not silent or seconds >= len(tries) * timeout / TRIES):
                tries.append(_Try(context, endpoint, keys))
                silent.append(tries[-1])
            elif not silent:
                break
            for one in _spoken(silent, len(tries) * timeout / TRIES - seconds):
                if one.pong and not one.draining and one.service is not None:
                    return one.service
        if any(one.draining for one in tries):
            raise errors.Unavailable(f"the server at {endpoint} is shutting down", started=False)
        raise errors.DeadlineExceeded(
            f"what listens at {endpoint} has not answered in {timeout:g} s: it is stopped, its event loop is blocked, or it is no "
            "ringback server"
        )
    finally:
        for one in tries:
            one.close()
        context.term()


class _Try:
    """One connection: `service` and `draining` as the server has said them, `pong` when it has said all that is asked."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, keys: ClientKeys | None) -> None:
        self.endpoint = endpoint
        self.service: str | None = None
        self.draining = False
        self.pong = False
        self._decoder = codec.from_server()
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.IMMEDIATE, 1)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.IPV6, "[" in endpoint)
        if keys is not None:
            from ..transport.libzmq.curve import protect  # few probes need it

            protect(self.socket, keys, endpoint)
        self._with_keys = keys is not None
        self._handshakes = Handshakes(endpoint, with_keys=self._with_keys)
        self.events = self.socket.get_monitor_socket(_WATCHED)
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise errors.UsageError(f"cannot connect to {endpoint}: {error.strerror}") from None

    def heard(self) -> None:
        """Raises where what was said is no answer."""
        try:
            messages: list[FromServer] = self._decoder.decode(self.socket.recv_multipart())
        except errors.ProtocolError as error:
            raise errors.ProtocolError(
                f"what answers at {self.endpoint} is not a ringback server that can be understood here: {error}"
            ) from None
        for message in messages:
            match message:
                case Welcome(service=service):
                    self.service = service
                case Drain():
                    self.draining = True
                case Pong():
                    self.pong = True
                case Fault(message=text):
                    raise errors.ProtocolError(
                        f"the server at {self.endpoint} did not understand the probe: {text}"
                    )

    def happened(self) -> None:
        """Raises where nobody is there who could answer."""
        told = self.events.recv_multipart()[0]
        event = int.from_bytes(told[:2], sys.byteorder)
        handshakes, now = self._handshakes, time.monotonic()
        if event == zmq.EVENT_CONNECTED:
            handshakes.began(now)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            handshakes.succeeded()
            # In this order: a server that is going says so before it answers the ping.
            self._say(Hello(os.urandom(16), FRAME_BYTES, f"ringback {__version__}"), Ping(1))
        elif event == zmq.EVENT_CLOSED:
            handshakes.closed()
        elif event == zmq.EVENT_CONNECT_RETRIED:
            if not handshakes.failing:
                raise errors.Unavailable(handshakes.retried(), started=False)
            handshakes.retried()
        elif event == zmq.EVENT_DISCONNECTED:
            if not handshakes.failing:
                raise errors.Unavailable(
                    f"the server at {self.endpoint} closed the connection", started=False
                )
        else:
            refusal = handshakes.failed(event, int.from_bytes(told[2:6], sys.byteorder), now)
            if refusal is not None:
                raise errors.Unauthenticated(refusal)
            if not self._with_keys:
                raise errors.ProtocolError(handshakes.lost())

    def close(self) -> None:
        welcome = self.service is not None
        if welcome:
            self._say(Bye())
        self.socket.disable_monitor()
        self.events.close(0)
        self.socket.close(LEAVE if welcome else 0)

    def _say(self, *messages: Any) -> None:
        for frames in codec.Encoder().encode(list(messages)):
            try:
                self.socket.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                pass  # it has gone at this moment: the next event says so


def _spoken(silent: Sequence[_Try], seconds: float) -> list[_Try]:
    """Those that have said something, within so many seconds."""
    poller = zmq.Poller()
    for one in silent:
        poller.register(one.socket, zmq.POLLIN)
        poller.register(one.events, zmq.POLLIN)
    ready = dict(poller.poll(max(1, int(seconds * 1000))))
    for one in silent:
        if one.socket in ready:
            one.heard()  # first: what a server has said before it went counts
        elif one.events in ready:
            one.happened()
    return [one for one in silent if one.socket in ready]
