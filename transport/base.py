"""The interface of a transport: it exchanges messages with peers and reports their connections.

A message is a list of frames. A transport is chosen by its name; it implements the `End` classes
here and calls the `Host` protocols. All calls happen on the event loop's own thread. Every
transport speaks ZeroMQ's wire protocol (ZMTP), so ends on different transports understand each
other.
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

# Maximum seconds of a client's handshake, from the connection to READY.
HANDSHAKE = 5.0

# A client's heartbeats, in seconds: the interval, the silence after which the client ends the
# connection, and the silence after which the server ends it.
BEAT, SILENT, TTL = 5.0, 15.0, 20.0

# Error numbers of a process or machine that has run out of descriptors or memory for sockets.
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class ServerBounds(NamedTuple):
    """A server's limits for its clients.

    `message`, `frames`: maximum bytes and frames of a message. `connections`: maximum connections.
    `handshake`, `hello`: seconds in which each must end its handshake and send its first message.
    `unserved`: maximum bytes received from all connections and not handled yet.
    """

    message: int
    frames: int
    connections: int
    handshake: float
    hello: float
    unserved: int


class AcceptedConnection(Protocol):
    """A client's connection at the server. Messages may still arrive after it has ended."""

    peer: str  # its address, if it has one
    user: str  # the name of its key; "" without keys
    key: str  # its key; "" without keys
    session: Any  # set and used by the server; None at first

    @property
    def unsent(self) -> int:
        """Bytes of accepted messages that wait to be sent; 0 if the transport cannot tell."""

    def send(self, frames: Sequence[Any]) -> bool:
        """Send one message. Returns False if it is not accepted, as too much waits for the client.

        `ServerHost.room` is called when the connection may accept messages again.
        """

    def cut(self) -> None:
        """End the connection at once. `ServerHost.lost` need not be called then."""


class ServerHost(Protocol):
    """The server, as its transport sees it."""

    def received(
        self, connection: AcceptedConnection, frames: list[Any]
    ) -> Iterator[object] | None:
        """A message arrived: the first frame is bytes, the others are any buffers.

        A message sent before the connection ended may arrive after `lost`. For a long message the
        host returns an iterator; each step handles one part of the message. The transport may serve
        other connections between two steps. It passes on the next message of this connection after
        the last step.
        """

    def turn_ended(self) -> object:
        """The turn has ended: send the queued messages."""

    def room(self, connection: AcceptedConnection | None) -> object:
        """The connection may accept messages again; None: any connection may."""

    def lost(self, connection: AcceptedConnection) -> object:
        """The connection has ended."""

    def offends(self, connection: AcceptedConnection, why: str) -> object:
        """The connection is harmful: the host has to cut it off."""

    def complain(self, peer: str, why: str) -> object:
        """The transport has cut off a connection."""


class ServerEnd(ABC):
    """A server's listening end. `endpoints` are the bound ones, with real ports."""

    endpoints: list[str]
    closing: Any = None  # a lock, held until the endpoints are free

    @property
    def unserved(self) -> int | None:
        """Bytes received and not handled yet; None if the transport cannot tell."""
        return None

    @abstractmethod
    def open(self, places: Sequence[str | InheritedSocket]) -> None:
        """Listen at the places. Raises UsageError; `close` closes those that were opened before."""

    @abstractmethod
    def sent(self) -> None:
        """Call this after sending outside a turn of the transport."""

    @abstractmethod
    def close(self, linger: float) -> None:
        """Close everything at once; unsent messages get `linger` more seconds."""

    @abstractmethod
    def forked(self) -> None:
        """In a child: leave the sockets to the parent."""


class ClientHost(Protocol):
    """The client, as the transport of one of its links sees it."""

    @property
    def known(self) -> bool:
        """Whether a server at this endpoint has admitted this client before."""

    def up(self) -> object:
        """The connection is established."""

    def received(self, frames: list[Any]) -> None:
        """A message arrived: the first frame is bytes, the others are any buffers."""

    def turn_ended(self) -> object:
        """The turn has ended: send the queued messages, and those that were not accepted."""

    def lives(self, liveness: Liveness) -> object:
        """The server's liveness has changed; it is READY at first. Not all transports report it."""

    def lost(self, reason: str) -> object:
        """The connection has ended; the transport reconnects."""

    def failed(self, reason: str) -> object:
        """A connection attempt has failed; the transport tries again."""

    def refused(self, reason: str) -> object:
        """The server refuses this client, or is no ringback server: the transport gives up."""


class ClientEnd(ABC):
    """A client's end for one endpoint. It reconnects after each loss, until it is closed."""

    @abstractmethod
    def open(self) -> None:
        """Begin to connect. `close` closes everything that this opens, even if this raises.

        Raises UsageError for an unusable endpoint, ResourceExhausted if the process can have no
        more sockets now.
        """

    @abstractmethod
    def send(self, frames: Sequence[Any]) -> bool:
        """Send one message. Returns False if it is not accepted; then nothing of it is sent.

        `ClientHost.turn_ended` is called when the connection may accept messages again.
        """

    gathers: ClassVar[bool] = True  # whether `sent` must be called after sending

    def sent(self) -> None:  # noqa: B027 - not all ends need it
        """Call this after sending, if the end `gathers`."""

    @abstractmethod
    def close(self, linger: float) -> None:
        """Close for good, even if half opened; unsent messages get `linger` more seconds."""


class Transport(ABC):
    """One transport. `context`: the user's zmq.Context. Raises UsageError for an unusable one."""

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, context: Any = None) -> None: ...

    @abstractmethod
    def server(
        self, loop: Loop, host: ServerHost, bounds: ServerBounds, keys: ServerKeys | None
    ) -> ServerEnd:
        """Make the end of a server. Raises UsageError."""

    @abstractmethod
    def client(
        self, loop: Loop, host: ClientHost, endpoint: str, keys: ClientKeys | None, message: int
    ) -> ClientEnd:
        """Make the end of a client, which accepts messages of up to `message` bytes."""
