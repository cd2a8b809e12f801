"""The calls of one map: one call in the client's session, and a session of its own for the calls.

In that session, each call is dispatched as if it had arrived by itself. Their outcomes gather in
its outbox, and go to the client in few messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from msgspec import Raw, structs

from .... import errors
from ....backends.base import Handle
from ....protocol.bounds import BATCH_BYTES
from ....protocol.messages import (
    Call,
    Error,
    Failure,
    FromServer,
    Map,
    Mapped,
    Reached,
    Refusal,
    Reply,
)
from ....protocol.server import IncomingCall, Session, SessionState
from ....protocol.values import pack_together, size

if TYPE_CHECKING:
    from ..active import ActiveCalls

# Bytes of results above which they are sent to the client.
ANSWER_BYTES = BATCH_BYTES // 2

# Seconds after which results are sent to the client, while other calls of the map run.
SOON = 0.02


def packed_together(results: list[Any], most: int) -> Raw | None:
    """`pack_together`, which returns None also if a user's class raises a BaseException."""
    try:
        return pack_together(results, most)
    except BaseException:
        return None


class IncomingMap:
    """The calls of one Map, as one call of its session. `left` calls have not ended."""

    __slots__ = (
        "came",
        "deadline",
        "ended",
        "id",
        "known",
        "left",
        "message",
        "own",
        "place",
        "session",
    )

    def __init__(
        self, session: Session, message: Map, count: int, now: float, host: ActiveCalls
    ) -> None:
        self.session = session
        self.id = message.id
        self.ended = False
        self.message = message
        self.came = now
        self.left = count
        self.known = bytearray(count)  # 1 for each place whose call has ended
        self.place = 0  # of the next call to start
        self.deadline = None if message.timeout is None else now + message.timeout / 1000
        self.own = MapSession(self, host)

    @property
    def parts(self) -> Iterable[IncomingCall]:
        return self.own.calls.values()

    def call(self, place: int, args: Raw) -> Call:
        """The call at `place`, as if it had arrived by itself."""
        message = self.message
        timeout = (
            None
            if self.deadline is None
            else max(1, int((self.deadline - time.monotonic()) * 1000))
        )
        options = message.options
        if options is not None:
            key = None if options.key is None else f"{options.key}-{message.first + place}"
            options = structs.replace(options, key=key)
        return Call(place, message.method, args, None, timeout, 0, options)

    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and self.deadline <= time.monotonic()

    def cancel(self) -> None:
        self._drop(lambda call: call.cancel())

    def abandon(self) -> None:
        self._drop(lambda call: call.abandon())

    def _drop(self, drop: Callable[[IncomingCall], object]) -> None:
        self.ended = True
        calls, self.own.calls = self.own.calls, {}
        for call in calls.values():
            call.ended = True
            drop(call)
        self.own.over()

    def fail_rest(self, failure: Failure) -> None:
        """End all calls that have not ended with the failure."""
        if not self.ended:
            for place, known in enumerate(self.known):
                if not known:
                    self.own.fail(place, failure)
            self.own.host.tell(self.own)
            self.cancel()

    def credit(self, items: int) -> None:
        """Does nothing: a map is no stream."""

    def item(self, value: Raw) -> None:  # noqa: ARG002
        raise errors.ProtocolError("an item for a map, which takes none")

    def fail(self, error: errors.CallError) -> None:
        if not self.ended:
            self.session.reply(self, Error(self.id, *errors.to_wire(error)))
            self.cancel()

    def end_input(self) -> None:
        """Does nothing: a map has no input."""


class MapSession(Session):
    """The session of a Map's calls, which gathers their replies.

    The id of a call is its place in the Map.
    """

    __slots__ = (
        "failures",
        "go_on",
        "host",
        "kept",
        "map",
        "results",
        "seen",
        "timer",
        "when_over",
    )

    def __init__(self, incoming: IncomingMap, host: ActiveCalls) -> None:
        self.map = incoming  # first, since `turn` uses it
        owner = incoming.session
        super().__init__(owner.connection, owner.peer)
        self.user, self.key, self.quota = owner.user, owner.key, owner.quota
        self.state = SessionState.OPEN
        self.instance, self.max_size = owner.instance, owner.max_size
        self.host = host
        self.timer: Handle | None = None
        self.seen: dict[str, int] = {}  # data versions that the calls have seen, by service
        self.results: dict[int, Any] = {}
        self.failures: dict[int, Failure] = {}
        self.kept = 0  # bytes of results and failures not sent
        self.when_over: Callable[[], object] | None = None
        self.go_on: Callable[[], object] | None = None  # starts more calls after one ends

    @property
    def client(self) -> Session:
        return self.map.session

    @property
    def turn(self) -> int:  # the client's: many maps give a client no more turns
        return self.map.session.turn

    @turn.setter
    def turn(self, turn: int) -> None:
        self.map.session.turn = max(turn, self.map.session.turn)

    def over(self) -> None:
        """End the session: the Map needs no more replies."""
        self.results, self.failures, self.outbox = {}, {}, []
        if self.timer is not None:
            self.timer.cancel()
        when_over, self.when_over = self.when_over, None
        if when_over is not None:
            when_over()

    def gather(self) -> None:
        """Collect new replies. Send them if they are large enough, or if they are the last."""
        incoming = self.map
        answers, self.outbox = self.outbox, []
        if incoming.ended:
            return
        for message in answers:
            self._take(message)
        if self.kept > ANSWER_BYTES or not incoming.left:
            self._send()
        if not incoming.left:
            self._end()
        elif self.timer is None and (self.results or self.failures):
            self.timer = self.host.loop.call_later(SOON, self._send_soon)

    def gathered(self) -> Session:
        """Gather replies. Returns the client's session, which may now have messages to send."""
        self.gather()
        if self.go_on is not None:
            go_on, self.go_on = self.go_on, None
            self.host.loop.call_after_poll(go_on)
        return self.map.session

    def _send(self) -> None:
        outbox = self.map.session.outbox
        if self.seen:
            outbox.append(Reached(self.map.id, self.seen))
            self.seen = {}
        outbox += self._mapped()

    def _send_soon(self) -> None:
        self.timer = None
        if not self.map.ended and (self.results or self.failures):
            self._send()
            self.host.tell(self.map.session)

    def put(self, place: int, result: Any) -> None:
        """Add a packed result."""
        if self._is_new(place):
            self.results[place] = result
            self.kept += size(result)

    def put_together(self, first: int, results: Raw, count: int) -> None:
        """Send `count` packed results, from place `first` on."""
        incoming = self.map
        incoming.known[first : first + count] = b"\1" * count
        incoming.left -= count
        incoming.session.outbox.append(Mapped(incoming.id, first, results))

    def fail(self, place: int, failure: Failure) -> None:
        """Add the failure of a call."""
        if self._is_new(place):
            self.failures[place] = failure
            self.kept += len(failure.message)

    def _is_new(self, place: int) -> bool:
        incoming = self.map
        if incoming.known[place]:
            return False
        incoming.known[place] = 1
        incoming.left -= 1
        return True

    def _end(self) -> None:
        incoming = self.map
        incoming.ended = True
        incoming.session.calls.pop(incoming.id, None)
        self.over()

    def _take(self, message: FromServer) -> None:
        match message:
            case Reply(id=place, result=result):
                self.put(place, result)
            case Error(id=place, code=code, kind=kind, message=text):
                self.fail(place, Failure(code, text, kind))
            case Refusal(id=place, code=code, message=text, started=started):
                self.fail(place, Failure(code, text, None, started))
            case Reached(versions=versions):
                for service, version in versions.items():
                    self.seen[service] = max(version, self.seen.get(service, 0))

    def _mapped(self) -> list[Mapped]:
        """Take all gathered results and failures, in few messages."""
        results, self.results = self.results, {}
        failures, self.failures = self.failures, {}
        self.kept = 0
        messages: list[Mapped] = []
        first, taken = 0, 0  # place and bytes of the message being built
        values: list[Any] = []
        failed: dict[int, Failure] = {}
        for place in sorted([*results, *failures]):
            if values and (place != first + len(values) or taken > ANSWER_BYTES):
                messages.append(Mapped(self.map.id, first, values, failed or None))  # type: ignore[arg-type]
                values = []
            if not values:
                first, values, failed, taken = place, [], {}, 0
            values.append(results.get(place))
            taken += size(values[-1])
            if place in failures:
                failed[place] = failures[place]
        if values:
            messages.append(Mapped(self.map.id, first, values, failed or None))  # type: ignore[arg-type]
        return messages
