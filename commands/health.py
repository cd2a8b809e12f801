"""`ringback health`: checks quickly, and with few imports, that a server accepts calls.

It sends a hello and a ping over connections of the native transport, without a client. The server's
event loop answers both itself, before any handler, interceptor or limit. So a server at its limits
is alive, and a server whose loop is blocked is not.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import errors
from ..backends.threading import ThreadingLoop
from ..balancing.liveness import Liveness
from ..endpoints import check_between_processes, connectable
from ..protocol import codec
from ..protocol.bounds import BATCH_BYTES, FRAME_BYTES
from ..protocol.messages import Bye, Drain, Fault, FromServer, Hello, Ping, Pong, Welcome
from ..terminal import fail, guarded, printable, say
from ..transport import reasons
from ..transport.base import ClientEnd
from ..transport.broken import IN_A_ROW
from ..transport.native.ends import Native
from ..version import __version__

if TYPE_CHECKING:
    from ..security.curve import ClientKeys

# Default timeout of the check, in seconds.
TIMEOUT = 2.0

# Maximum connections. With many processes behind one endpoint, each connection reaches a random
# process; a draining or blocked process says nothing about the others.
TRIES = 5

# Prefix of the environment variables that set options of this command.
_VARIABLES = "RINGBACK_HEALTH_"

# Seconds to send the goodbye.
LEAVE = 0.1

# Maximum bytes of a message from the server.
MESSAGE = 2 * BATCH_BYTES


def asked(words: Sequence[str]) -> tuple[str, float] | None:
    """Parse the words after `ringback health` if they have the simple form that probes use.

    Returns the endpoint and the timeout in seconds. Returns None if the full command line must
    parse the words or report their errors.
    """
    if _has_options():
        return None
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


def _has_options() -> bool:
    """Whether the environment or pyproject.toml may have options of this command."""
    if any(name.startswith(_VARIABLES) for name in os.environ):
        return True
    try:
        with open("pyproject.toml", "rb") as project:
            text = project.read()
    except OSError:
        return False
    return b"ringback" in text and b"health" in text


def run(endpoint: str, timeout: float, keys: ClientKeys | None = None) -> int:
    """Print the result in one line and return the exit status."""
    return guarded(lambda: _run(endpoint, timeout, keys))


def _run(endpoint: str, timeout: float, keys: ClientKeys | None) -> int:
    try:
        # (the name is empty if access rules deny this caller everything)
        service = check(connectable(endpoint), timeout, keys) or "the server"
    except errors.UsageError as error:
        fail(str(error))
        return 2  # as of all commands, `output.USAGE`
    except errors.CallError as error:
        return fail(f"{error.code}: {error}")
    except KeyboardInterrupt:
        return 130
    say(printable(f"ringback: {service} at {endpoint} accepts calls"))
    return 0


def check(endpoint: str, timeout: float, keys: ClientKeys | None = None) -> str:
    """The name of the service that accepts calls at the endpoint.

    Raises an error of `ringback.errors` as soon as no server can accept calls, and DeadlineExceeded
    after `timeout` seconds without an answer.
    """
    check_between_processes(endpoint, "a probe")
    return _Probe(endpoint, timeout, keys).run()


class _Probe:
    """The connections of one check."""

    def __init__(self, endpoint: str, timeout: float, keys: ClientKeys | None) -> None:
        self.endpoint = endpoint
        self.keys = keys
        self.loop = ThreadingLoop()
        self._timeout = timeout
        self._tries: list[_Try] = []
        self._over = self.loop.gate()
        self._service: str | None = None
        self._error: errors.CallError | None = None

    def run(self) -> str:
        try:
            self.loop.turn(self._begin)
            self.loop.wait(self._over)
            if self._error is not None:
                raise self._error
            assert self._service is not None
            return self._service
        finally:
            for one in self._tries:
                one.close()
            self.loop.close()

    def _begin(self) -> None:
        self.loop.call_later(self._timeout, self._out_of_time)
        self._next()

    def _next(self) -> None:
        """Open another connection beside those that have not answered yet."""
        if len(self._tries) < TRIES:
            one = _Try(self)
            self._tries.append(one)
            self.loop.call_later(self._timeout / TRIES, self._next_after, one)
            one.end.open()

    def _next_after(self, one: _Try) -> None:
        if self._tries[-1] is one:
            self._next()

    def answered(self, one: _Try) -> None:
        if one.service is not None and not one.draining:
            self._service = one.service
            self._over.open()
        elif all(each.pong for each in self._tries):
            if len(self._tries) == TRIES:
                self._out_of_time()
            else:
                self._next()

    def fails(self, error: errors.CallError) -> None:
        if not self._over.opened:
            self._error = error
            self._over.open()

    def _out_of_time(self) -> None:
        if any(one.draining for one in self._tries):
            self.fails(
                errors.Unavailable(f"the server at {self.endpoint} is shutting down", started=False)
            )
        else:
            self.fails(
                errors.DeadlineExceeded(
                    f"the peer at {self.endpoint} has not answered in {self._timeout:g} s: it is "
                    f"stopped, "
                    "its event loop is blocked, or it is not a ringback server"
                )
            )


class _Try:
    """One connection, a `ClientHost`.

    `service` and `draining` are as the server reported them. `pong` is true once the server has
    answered everything.
    """

    known = False

    def __init__(self, probe: _Probe) -> None:
        self.service: str | None = None
        self.draining = False
        self.pong = False
        self._probe = probe
        self._decoder = codec.from_server()
        self._failures = 0
        self.end: ClientEnd = Native().client(probe.loop, self, probe.endpoint, probe.keys, MESSAGE)

    def up(self) -> None:
        # In this order: a draining server reports it before it answers the ping.
        self._say(Hello(os.urandom(16), FRAME_BYTES, f"ringback {__version__}"), Ping(1))

    def received(self, frames: list[Any]) -> None:
        try:
            messages: list[FromServer] = self._decoder.decode(frames)
        except errors.ProtocolError as error:
            what = (
                f"the peer at {self._probe.endpoint} is not a ringback server of a compatible "
                f"version"
            )
            self._probe.fails(errors.ProtocolError(f"{what}: {error}"))
            return
        for message in messages:
            match message:
                case Welcome(service=service):
                    self.service = service
                case Drain():
                    self.draining = True
                case Pong():
                    self.pong = True
                    self._probe.answered(self)
                case Fault(message=text):
                    what = f"the server at {self._probe.endpoint} did not understand the probe"
                    self._probe.fails(errors.ProtocolError(f"{what}: {text}"))

    def turn_ended(self) -> None:
        """Nothing to do: no messages are buffered here."""

    def lives(self, liveness: Liveness) -> None:
        """Ignored: a silent server is waited for until the timeout."""

    def lost(self, reason: str) -> None:  # noqa: ARG002 - the message below says it
        if not self.pong:
            text = f"the server at {self._probe.endpoint} closed the connection"
            self._probe.fails(errors.Unavailable(text, started=False))

    def failed(self, reason: str) -> None:
        """Report a failed handshake.

        A single broken-off handshake says little: the next attempt reveals whether the server has
        keys, or another key.
        """
        self._failures += 1
        if reason != reasons.broken_off(self._probe.endpoint) or self._failures == IN_A_ROW:
            self._probe.fails(errors.Unavailable(reason, started=False))

    def refused(self, reason: str) -> None:
        self._probe.fails(errors.Unauthenticated(reason))

    def close(self) -> None:
        if self.service is not None:
            self._say(Bye())
        self.end.close(LEAVE)

    def _say(self, *messages: Any) -> None:
        for frames in codec.Encoder().encode(list(messages)):
            self.end.send(frames)
