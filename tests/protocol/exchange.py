"""What the tests of the protocol share: calls that remember their outcome, and machines brought to
where a test begins.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from ringback import errors
from ringback.balancing import RoundRobin
from ringback.clients.conversation.calls import (
    TRANSITIONS,
    CallSettings,
    CallState,
    OutgoingCall,
    Upload,
)
from ringback.clients.conversation.links import Link
from ringback.clients.conversation.machine import ClientMachine
from ringback.protocol import codec
from ringback.protocol.messages import (
    Bye,
    Call,
    Cancel,
    Credit,
    Drain,
    Drained,
    End,
    Error,
    Fault,
    Hello,
    Item,
    Notify,
    Ping,
    Pong,
    Refusal,
    Reply,
    Welcome,
)
from ringback.protocol.server import IncomingCall, ServerMachine, Session
from ringback.protocol.values import NOTHING, Unpacker, pack

LIMIT = 16 * 1024 * 1024
WELCOME = Welcome(b"s" * 16, "service", LIMIT, 100, {})
HELLO = Hello(b"c" * 16, LIMIT, "test")


def raw(value: Any) -> Any:
    """A value as it arrives."""
    (frames,) = codec.Encoder().encode([pack(value, LIMIT)])
    return msgspec.Raw(bytes(frames[0])[5:])


class Asked(OutgoingCall):
    """A call that keeps what it is told, and goes to no state that may not follow the one it is in."""

    __slots__ = ("_state", "at_end", "items", "outcomes")

    def __init__(
        self, message: Call, settings: CallSettings, deadline: float | None = None
    ) -> None:
        super().__init__(message, settings, deadline)
        self.allowed = message.credit
        self.outcomes: list[tuple[Any, BaseException | None]] = []
        self.items: list[Any] = []
        self.at_end: Any = None

    @property
    def state(self) -> CallState:
        return self._state

    @state.setter
    def state(self, state: CallState) -> None:
        before = getattr(self, "_state", None)
        assert before in (None, state) or state in TRANSITIONS[before], f"from {before} to {state}"
        self._state = state

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.outcomes.append((result, error))
        if self.at_end is not None:
            self.at_end()

    def item(self, value: Any, size: int) -> None:
        self.items.append(value)

    @property
    def error(self) -> BaseException | None:
        ((_, error),) = self.outcomes
        return error

    @property
    def result(self) -> Any:
        ((result, error),) = self.outcomes
        assert error is None, error
        return result


def call(
    method: str = "m",
    *,
    timeout: float | None = None,
    credit: int = 0,
    now: float = 0.0,
    wait: bool = True,
    returns: Any = Any,
) -> Asked:
    settings = CallSettings(timeout)
    settings.wait_for_ready = wait
    settings.returns = returns
    deadline = None if timeout is None else now + timeout
    return Asked(Call(0, method, NOTHING, credit=credit), settings, deadline)


class Client:
    """A ClientMachine, and the hand that holds its links."""

    def __init__(self, links: int = 1, *, open: bool = True) -> None:  # noqa: A002
        self.machine = ClientMachine(
            [f"tcp://host:{n}" for n in range(links)], b"c" * 16, LIMIT, "test", policy=RoundRobin()
        )
        self.values = Unpacker()
        if open:
            for link in self.links:
                self.open(link)

    @property
    def links(self) -> list[Link]:
        return self.machine.links

    @property
    def link(self) -> Link:
        return self.machine.links[0]

    def open(self, link: Link | None = None) -> None:
        """The link comes up and the server welcomes us; what that sends stays in the outbox,
        without the hello.
        """
        link = link or self.link
        self.machine.link_up(link)
        link.outbox.clear()
        self.hear(WELCOME, link=link)

    def hear(self, *messages: Any, link: Link | None = None, now: float = 0.0) -> None:
        self.machine.receive(link or self.link, messages, self.values, now)

    def start(self, call: Asked, now: float = 0.0) -> Asked:
        self.machine.start_all([call], now)
        return call

    def sent(self, link: Link | None = None) -> list[Any]:
        """What has been said since the last look."""
        link = link or self.link
        outbox, link.outbox = link.outbox, []
        return list(outbox)


class HeldCall(IncomingCall):
    """A call at the server that nothing is told of but that it is cancelled."""

    def __init__(self, session: Session, id: int) -> None:  # noqa: A002
        self.session = session
        self.id = id
        self.ended = False
        self.cancelled = 0

    @property
    def parts(self) -> tuple[IncomingCall]:
        return (self,)

    def cancel(self) -> None:
        self.cancelled += 1

    def abandon(self) -> None:
        self.cancel()


class Served(HeldCall):
    """A call at the server that keeps what it is told."""

    def __init__(self, session: Session, id: int) -> None:  # noqa: A002
        super().__init__(session, id)
        self.credits: list[int] = []
        self.inputs: list[Any] = []
        self.takes = 0  # items it has given credit for
        session.calls[id] = self

    def credit(self, items: int) -> None:
        self.credits.append(items)

    def item(self, value: Any) -> None:
        if not self.takes:
            raise errors.ProtocolError("no credit")
        self.takes -= 1
        self.inputs.append(value)

    def end_input(self) -> None:
        self.inputs.append(None)


class Sending(Upload):
    """An argument that streams and keeps what it is told."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def begin(self) -> None:
        self.told.append("begin")

    def credit(self, items: int) -> None:
        self.allowed += items
        self.told.append(items)

    def go_on(self) -> None:
        self.told.append("go on")

    def stop(self) -> None:
        self.told.append("stop")


def server(*, max_in_flight: int = 100, max_bytes_in_flight: int = 1 << 62) -> ServerMachine:
    limits = {"max_in_flight": max_in_flight, "max_bytes_in_flight": max_bytes_in_flight}
    return ServerMachine("service", b"s" * 16, {}, max_size=LIMIT, **limits)


def greeted(machine: ServerMachine) -> Session:
    """A session that has had its welcome."""
    session = machine.connected(b"address", "peer")
    machine.receive(session, [HELLO])
    session.outbox.clear()
    return session


def incoming(id_: int) -> Call:
    return Call(id_, "m", NOTHING)


# What a peer may say that knows the messages but not the rules.

_ids = st.integers(-1, 6) | st.sampled_from([-(1 << 63), (1 << 64) - 1])
_codes = st.sampled_from(["UNAVAILABLE", "UNKNOWN", "ABORTED", "", "no such code"])
_either = (
    st.builds(Credit, _ids, _ids)
    | st.builds(Item, _ids, st.builds(raw, st.sampled_from([1, "text"])))
    | st.builds(End, _ids)
    | st.builds(Ping, _ids)
    | st.builds(Pong, _ids)
    | st.builds(Bye)
    | st.builds(Fault, st.just("nonsense"))
)
heard_from_client = st.lists(
    st.builds(Hello, st.binary(max_size=20), _ids)
    | st.builds(Call, _ids, st.just("m"), st.just(NOTHING), credit=_ids, timeout=st.none() | _ids)
    | st.builds(Notify, st.just("m"), st.just(NOTHING))
    | st.builds(Cancel, _ids)
    | st.builds(Drained)
    | _either,
    max_size=12,
)
heard_from_server = st.lists(
    st.builds(Welcome, st.binary(max_size=20), st.just("s"), _ids, _ids, st.just({}))
    | st.builds(Reply, _ids, st.builds(raw, st.sampled_from([None, 1, "text"])))
    | st.builds(Error, _ids, _codes, st.sampled_from(["", "ValueError"]), st.just("text"))
    | st.builds(Refusal, _ids, _codes, st.just("text"), st.none() | st.booleans())
    | st.builds(Drain)
    | _either,
    max_size=20,
)
