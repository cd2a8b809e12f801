"""What server and client need of the network: messages to and from peers, each a list of frames, and the news of who came and went.

A transport is chosen by its name; it implements the classes here, and calls the protocols. All of it happens on the loop's own thread.
What lies between two ends is ZeroMQ's wire (ZMTP), whatever the transport: ends on different ones understand each other.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from ..backends.base import Loop
from ..balancing.liveness import Liveness

if TYPE_CHECKING:
    from ..security.curve import ClientKeys, ServerKeys
    from .listening import InheritedSocket

# Seconds for a client's handshake, from the connection to READY.
HANDSHAKE = 5.0

# A client's heartbeats, in seconds: from one to the next, until silence is the end of a connection, and until it is for the server.
BEAT, SILENT, TTL = 5.0, 15.0, 20.0

# What a socket cannot be had for where the process, or the machine, has no more of it.
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class ServerBounds(NamedTuple):
    """What a server takes from its clients: the bytes and frames of a message, how many connections there may be, the seconds in which each
    must have ended its handshake, and said its first message; and, of all together, the bytes that have come and are not served yet."""

    message: int
    frames: int
    connections: int
    handshake: float
    hello: float
    unserved: int


class AcceptedConnection(Protocol):
    """One client, to its server. It may leave, and what it had sent come after that."""

    peer: str  # its address, as far as it has one
    user: str  # the name of its key, and the key: "" without keys
    key: str
    session: Any  # the server's own; None at first

    @property
    def unsent(self) -> int:
        """Bytes of what it has taken that wait to be sent, where that is known."""

    def send(self, frames: Sequence[Any]) -> bool:
        """Send one message. False where it is not taken, as too much waits for the client to read it: `ServerHost.room` is called when
        it may be."""

    def cut(self) -> None:
        """End it, at once. `ServerHost.lost` need not be called then."""


class ServerHost(Protocol):
    """The server, to its transport."""

    def received(self, connection: AcceptedConnection, frames: list[Any]) -> Iterator[object] | None:
        """A message arrived: the first frame is bytes, the others are any buffers. A message sent before the connection ended may arrive
        after `lost`. For a long message the host returns an iterator; each step handles one part of the message. The transport may serve
        other connections between two steps, and hands over the next message of this connection after the last step."""

    def turn_ended(self) -> object:
        """That was all for now: send what has gathered."""

    def room(self, connection: AcceptedConnection | None) -> object:
        """What the connection did not take may be taken now; None: that of any."""

    def lost(self, connection: AcceptedConnection) -> object:
        """It has ended."""

    def offends(self, connection: AcceptedConnection, why: str) -> object:
        """It has to be cut off, as it does harm."""

    def complain(self, peer: str, why: str) -> object:
        """One was cut off by the transport."""


class ServerEnd(ABC):
    """Where a server listens. `endpoints` are those that are bound, with real ports."""

    endpoints: list[str]
    closing: Any = None  # a lock that is held while the endpoints are not free yet

    @property
    def unserved(self) -> int | None:
        """Bytes that connections have sent and nobody has handled yet; None where the transport does not tell."""
        return None

    @abstractmethod
    def open(self, places: Sequence[str | InheritedSocket]) -> None:
        """Listen there. Raises UsageError where that cannot be; what is open then is closed by `close`."""

    @abstractmethod
    def sent(self) -> None:
        """To be called when something was sent outside a turn of the transport's."""

    @abstractmethod
    def close(self, linger: float) -> None:
        """Close all, at once; what is still to be sent has so many seconds."""

    @abstractmethod
    def forked(self) -> None:
        """In a child: all of it is the parent's."""


class ClientHost(Protocol):
    """The client, to the end of one of its links."""

    @property
    def known(self) -> bool:
        """Whether a server at this endpoint has let this client in before."""

    def up(self) -> object:
        """Connected."""

    def received(self, frames: list[Any]) -> None:
        """A message has come: its first frame as bytes, the others as whatever holds them."""

    def turn_ended(self) -> object:
        """That was all for now, and what was not taken may be now: send what has gathered."""

    def lives(self, liveness: Liveness) -> object:
        """That has changed; it is READY at first. A transport that cannot tell does not call it."""

    def lost(self, reason: str) -> object:
        """The connection has ended; another is tried."""

    def failed(self, reason: str) -> object:
        """One could not be made; another is tried."""

    def refused(self, reason: str) -> object:
        """The server does not let this client in, or is not what it should be: no other is tried."""


class ClientEnd(ABC):
    """A client's way to one endpoint, for as long as it is open: connected again whenever the connection is lost."""

    @abstractmethod
    def open(self) -> None:
        """Connect, from now on. What it opens is closed by `close`, also where this raises: UsageError where the endpoint cannot be
        had, ResourceExhausted where the process cannot have another socket now."""

    @abstractmethod
    def send(self, frames: Sequence[Any]) -> bool:
        """Send one message. False where it is not taken: then nothing of it is sent, and `ClientHost.turn_ended` is called when it may
        be."""

    gathers: ClassVar[bool] = True  # whether `sent` is to be called

    def sent(self) -> None:  # noqa: B027 - most ends gather nothing
        """To be called when something was sent, by an end that gathers what is sent."""

    @abstractmethod
    def close(self, linger: float) -> None:
        """Close it for good, however far it was opened; what is still to be sent has so many seconds."""


class Transport(ABC):
    """One way to send messages. `context`: what the user gave. Raises UsageError where it cannot be had."""

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, context: Any = None) -> None: ...

    @abstractmethod
    def server(
        self, loop: Loop, host: ServerHost, bounds: ServerBounds, keys: ServerKeys | None
    ) -> ServerEnd:
        """One of a server's. Raises UsageError."""

    @abstractmethod
    def client(
        self, loop: Loop, host: ClientHost, endpoint: str, keys: ClientKeys | None, message: int
    ) -> ClientEnd:
        """One of a client's, which takes messages of so many bytes."""
