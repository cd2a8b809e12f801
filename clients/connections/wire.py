"""One link of a client on its transport.

It sends and receives batches, and reports the events of the connection to the machine.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

from ... import errors
from ...backends.base import Loop
from ...balancing.liveness import Liveness
from ...logs.errorlog import log_error
from ...protocol import codec
from ...protocol.bounds import BATCH_BYTES
from ...protocol.messages import FromClient
from ...transport.base import Transport
from ..conversation.links import Link, LinkState
from ..conversation.machine import ClientMachine

if TYPE_CHECKING:
    from ...security.curve import ClientKeys

log = logging.getLogger("ringback.client")


class WireHost(Protocol):
    """The client's core.
    `opened`: the wires with open sockets; `known`: endpoints whose servers have admitted this
    client before."""

    loop: Loop
    machine: ClientMachine
    transport: Transport
    keys: ClientKeys | None
    encoder: codec.Encoder
    opened: list[Wire]
    known: set[str]
    closed: bool

    def flush(self) -> None:
        """A turn of the transport has ended."""

    def link_changed(self, wire: Wire) -> None:
        """The link's state has changed."""

    def tell_state(self) -> None:
        """The client's state may have changed."""


class Wire:
    """A link's connection: the host of its end of the transport."""

    def __init__(self, core: WireHost, link: Link) -> None:
        """Connect. Raises UsageError or ResourceExhausted, as `ClientEnd.open` does."""
        self._core = core
        self.link = link
        self.stuck: list[list[Any]] = []  # batches that the transport would not take
        self._whole: list[FromClient] = []  # the messages in them, until one of them is sent
        self.seen = link.state  # the state last reported to the core
        self.opened = 0.0
        self._decoder = codec.from_server()
        self.turn_ended = core.flush
        largest = core.machine.max_size + BATCH_BYTES
        self._end = core.transport.client(core.loop, self, link.endpoint, core.keys, largest)
        core.opened.append(self)
        try:
            self._end.open()
        except (errors.UsageError, errors.CallError):
            self.close(0)
            raise

    def flush(self) -> None:
        """Send the messages in the link's outbox."""
        link, stuck = self.link, self.stuck
        while True:
            if not stuck:
                if not link.outbox:
                    if link.unsent:
                        self._core.machine.link_flushed(link)
                        if link.outbox:
                            continue
                    break
                outbox, link.outbox = link.outbox, []
                try:
                    stuck = self._core.encoder.encode(outbox, link.max_messages, link.max_frames)
                except codec.Unencodable as found:
                    link.outbox[:0] = found.sound
                    for message, error in found.spoiled:
                        self._core.machine.spoiled(message, error)
                    continue
                self.stuck, self._whole = stuck, outbox
            if not self._end.send(stuck[0]):
                break
            del stuck[0]
            self._whole = []
        if self._end.gathers:
            self._end.sent()

    def close(self, linger: float) -> None:
        """Close the connection; unsent messages have `linger` seconds."""
        self._end.close(linger)
        if self in self._core.opened:
            self._core.opened.remove(self)

    # Events of the transport

    @property
    def known(self) -> bool:
        return self.link.endpoint in self._core.known

    def up(self) -> None:
        self.stuck = []
        self._core.known.add(self.link.endpoint)
        self._core.machine.link_up(self.link)
        self._tell()

    def received(self, frames: list[Any]) -> None:
        machine = self._core.machine
        try:
            messages = self._decoder.decode(frames)
            machine.receive(self.link, messages, self._decoder.values, time.monotonic())
        except errors.ProtocolError as error:
            machine.fault(self.link, error.message)
        except Exception as error:
            if self._core.loop.may_be_cut():
                raise
            # A fault of ringback itself closes only this link.
            log_error(
                log, "client failed to process messages from %s", self.link.endpoint, error=error
            )
            machine.fault(self.link, "the client failed to process this server's messages")
        if self.link.state is not self.seen:
            self._core.link_changed(self)

    def lives(self, liveness: Liveness) -> None:
        self._core.machine.link_lives(self.link, liveness)
        self._core.tell_state()

    def lost(self, reason: str) -> None:
        self.stuck = []
        self.link.outbox[:0] = self._whole  # never sent
        self._whole = []
        self._core.machine.link_lost(self.link, reason, time.monotonic())
        self._tell()

    def failed(self, reason: str) -> None:
        if self.link.state in (LinkState.CONNECTING, LinkState.DOWN):
            self._core.machine.link_failed(self.link, reason)
            self._tell()

    def refused(self, reason: str) -> None:
        if self.link.state is not LinkState.CLOSED and not self._core.closed:
            self._core.machine.link_refused(self.link, reason)
            self._tell()

    def _tell(self) -> None:
        if self.link.state is not self.seen:
            self._core.link_changed(self)
