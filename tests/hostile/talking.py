"""A fuzzing client that knows what it is owed: a new call on an open session ends exactly once."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import msgspec
import zmq
from generated import BAD_POST, Chance, call, encode, note, value
from mutations import mutated
from oracles import vectors
from processes import SOON
from raw import HELLO, said
from ringback.errors import ProtocolError
from ringback.protocol import codec
from ringback.protocol.messages import (
    Bye,
    Call,
    Cancel,
    Credit,
    End,
    Error,
    Fault,
    Hello,
    Item,
    Map,
    Mapped,
    Ping,
    Pong,
    Reached,
    Refusal,
    Reply,
    Welcome,
)

Batch = list[bytes]

# Streams of one client that are open at once: each may hold a worker until it is told to end.
OPEN = 6
# Calls of one client that wait for their answers at once.
WAITING = 40
# Items that generated values refer to.
FRAMES: Batch = [b"frame", bytes(70_000), b""]

# Batches of the specification, right ones and wrong ones.
VECTORS: list[Batch] = vectors("client")

_HONEST = ("add_inline", "add", "add_async")


class Broken(AssertionError):
    """The server has not done what it must."""


class Talk:
    """One connection and its open calls.

    Raises Broken for a call answered twice, wrongly or never.
    """

    def __init__(
        self, context: zmq.Context[Any], endpoint: str, chance: Chance, *, mutates: float = 0.0
    ) -> None:
        """`mutates`: the share of batches whose bytes are changed."""
        self._chance = chance
        self._mutates = mutates
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.RECONNECT_IVL, -1)
        self.socket.set(zmq.SNDTIMEO, 200)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.connect(endpoint)
        self._reads = codec.from_client()  # as the server reads it
        self._decoder = codec.from_server()
        self._greeted = False
        self._last = 0
        self._tokens = 0
        self._pong = 0
        self._pending: dict[int, Batch] = {}  # by id, the batch that the call came in
        self._expected: dict[int, bytes] = {}  # results
        self._cancelled: set[int] = set()
        self._credit: dict[int, int] = {}  # of arguments that stream
        self._items: dict[int, Any] = {}
        self._take_all: set[int] = set()
        self._places: dict[int, set[int]] = {}  # of maps, whose calls have not ended
        self._doomed: set[int] = set()  # calls with an item that does not fit
        self._faulted = False  # what was said is a fault, or may be one
        self.over = False
        self.messages = 0
        self.recent: list[Batch] = []
        if chance.random() < 0.95:
            self._send(said(HELLO))

    # Out

    def say(self) -> None:
        """Send a batch: generated messages, and one honest call whose result is known."""
        chance = self._chance
        messages: list[bytes] = []
        number = self._last
        for _ in range(chance.one((1, 2, 3, 5, 8, 13, 30))):
            kind = chance.random()
            if kind < 0.04:
                number += 1
                messages.append(self._map(number))
                if chance.random() < 0.1:
                    messages.append(encode([5, number]))
            elif kind < 0.80:
                number += 1 if chance.random() < 0.98 else chance.randint(1, 1000)
                made = call(chance, number)
                messages.append(made.message)
                if made.items is not None:
                    self._items[number] = made.items
                    if made.takes_all:
                        self._take_all.add(number)
                if chance.random() < 0.05 and made.items is None:
                    messages.append(encode([5, number]))
            elif kind < 0.84:
                messages.append(note(chance))
            elif kind < 0.90:
                messages += self._some_items()
            elif kind < 0.94:
                some = chance.one((0, -1, number, number - 1, number + 5, (1 << 64) - 1))
                messages.append(encode([6, some, chance.one((0, 1, -1, 5, (1 << 64) - 1))]))
            elif kind < 0.96:
                messages.append(encode([5, chance.one((0, -1, number, number - 2, (1 << 64) - 1))]))
            elif kind < 0.98:
                messages.append(encode([8, chance.one((0, number, number - 3, (1 << 64) - 1))]))
            elif kind < 0.99:
                messages.append(encode([12, chance.one((0, -1, (1 << 64) - 1))]))
            elif kind < 0.997:  # again
                messages.append(
                    encode([3, max(0, self._last - chance.randint(0, 50)), "add", [1, 2]])
                )
            elif kind < 0.998:
                messages.append(encode([15]))
            elif kind < 0.999:
                messages.append(encode([7, chance.one((0, number, 1)), msgspec.Raw(value(chance))]))
            elif number < 1 << 60:
                number = 1 << 62
                messages.append(call(chance, number).message)
        number += 1
        one, other = chance.randint(0, 1000), chance.randint(0, 1000)
        messages.insert(
            int(chance.random() * len(messages)) if number == self._last + 1 else len(messages),
            encode([3, number, chance.one(_HONEST), [one, other]]),
        )
        self._expected[number] = encode(one + other)
        first = codec.PREAMBLE + encode([msgspec.Raw(message) for message in messages])
        batch = [first, *FRAMES] if chance.random() < 0.3 else [first]
        if chance.random() < self._mutates:
            if chance.random() < 0.3:
                batch = chance.one(VECTORS)
            batch = mutated(chance, batch, [*self.recent, *VECTORS])
            self._faulted = True
        self._send(batch)
        if number not in self._pending:  # its bytes were changed
            del self._expected[number]
        if len(self._pending) > WAITING:
            self._end_all()
        elif len(self._credit) > OPEN:
            self._send(said(*(End(number) for number in list(self._credit)[:-OPEN])))

    def _map(self, number: int) -> bytes:
        """Many calls of one method, with the arguments of one generated call and others."""
        chance = self._chance
        made: Any = msgspec.msgpack.decode(call(chance, number).message, type=list[msgspec.Raw])
        method = (
            chance.one((encode(chance.one(_HONEST)), made[2])) if len(made) > 3 else encode("add")
        )
        rows = [
            chance.one(
                (
                    encode([1, chance.randint(0, 9)]),
                    made[3] if len(made) > 3 else b"\x90",
                    value(chance),
                )
            )
            for _ in range(chance.one((0, 1, 2, 5, 17, 70)))
        ]
        array = (
            encode([msgspec.Raw(row) for row in rows]) if chance.random() < 0.97 else value(chance)
        )
        more = [msgspec.Raw(part) for part in made[4:7]] if chance.random() < 0.2 else []
        return encode([19, number, msgspec.Raw(method), msgspec.Raw(array), *more])

    def _some_items(self) -> list[bytes]:
        """Of a call that has credit for them; what they are is the method's business."""
        chance = self._chance
        for number, credit in self._credit.items():
            if credit > 0 and number in self._items:
                some = []
                if number in self._take_all and chance.random() < 0.3:
                    self._doomed.add(number)
                    return [encode([7, number, msgspec.Raw(BAD_POST)])]
                for _ in range(min(credit, chance.randint(1, 4))):
                    item = self._items[number](chance) if chance.random() < 0.9 else value(chance)
                    some.append(encode([7, number, msgspec.Raw(item)]))
                return [*some, encode([8, number])] if chance.random() < 0.3 else some
        return []

    def _send(self, batch: Batch) -> None:
        if self.over:
            return
        self.recent = [*self.recent[-5:], batch]
        self._note(batch)
        end = time.monotonic() + SOON
        while True:
            try:
                self.socket.send_multipart(batch)
                return
            except zmq.Again:
                self.hear()
            if self._monitor.poll(0):
                self.over = True  # cut off: its calls have ended with it
                return
            if time.monotonic() > end:
                raise Broken(f"the server takes nothing more; {self.told()}")

    def _note(self, batch: Batch) -> None:
        """What follows from a batch, by the rules of the protocol."""
        try:
            messages = self._reads.decode(batch)
        except ProtocolError:
            self._faulted = True
            self.messages += 1
            return
        self.messages += len(messages)
        for message in messages:
            match message:
                case Hello():
                    self._faulted |= self._greeted
                    self._greeted = True
                case Call() if message.id > self._last:
                    self._last = message.id
                    self._pending[message.id] = batch
                    if type(message) is Map:
                        with suppress(msgspec.DecodeError):  # it will be refused
                            rows = msgspec.msgpack.decode(message.args, type=list[msgspec.Raw])
                            self._places[message.id] = set(range(len(rows)))
                case Cancel() if message.id in self._pending:
                    del self._pending[message.id]
                    self._cancelled.add(message.id)
                    self._credit.pop(message.id, None)
                case Item():
                    left = self._credit.get(message.id, 0)
                    self._faulted |= left <= 0
                    self._credit[message.id] = left - 1
                case End():
                    self._credit.pop(message.id, None)
                    self._items.pop(message.id, None)
                case Bye() | Fault():
                    self.over = True
                case _:
                    pass

    # In

    def hear(self, seconds: float = 0.0) -> None:
        """All that has come, and what comes first in that time where nothing has."""
        while not self.over and self.socket.poll(int(seconds * 1000)):
            seconds = 0.0
            frames = self.socket.recv_multipart()
            try:
                messages = self._decoder.decode(frames)
            except ProtocolError as error:
                raise Broken(
                    f"nobody can read its answers: {error}: {frames[0].hex():.10000}"
                ) from None
            for message in messages:
                self._heard(message)

    def _heard(self, message: Any) -> None:
        match message:
            case Reply() | Error() | Refusal() | End():
                self._ended(message)
            case Mapped():
                self._mapped(message)
            case Credit():
                if message.id in self._pending:
                    self._credit[message.id] = self._credit.get(message.id, 0) + message.items
            case Pong():
                self._pong = message.token
            case Fault():
                self.over = True
                if not self._faulted:
                    raise Broken(f"a fault for what is none: {message.message}; {self.told()}")
            case Welcome() | Item() | Reached():
                pass
            case _:
                raise Broken(f"it says {message}")

    def _mapped(self, message: Mapped) -> None:
        """Each place is told of once."""
        number = message.id
        places = self._places.get(number, set())
        results = msgspec.msgpack.decode(message.results, type=list[msgspec.Raw])
        told = set(range(message.first, message.first + len(results)))
        if not told <= places or not set(message.failures or ()) <= told:
            if number in self._cancelled:
                return
            raise Broken(f"map {number} has places that it has not, or that have ended: {message}")
        places -= told
        if not places:
            self._ended(message)

    def _ended(self, message: Any) -> None:
        number = message.id
        self._credit.pop(number, None)
        self._items.pop(number, None)
        if number in self._cancelled:
            self._cancelled.remove(number)
            return
        if (
            self._pending.pop(number, None) is None and self._greeted
        ):  # (before, each repeat is refused)
            raise Broken(f"call {number} is answered, and has ended or was never made: {message}")
        if number in self._doomed and isinstance(message, Reply) and not self._faulted:
            raise Broken(f"call {number} has a result, though an item was refused: {self.told()}")
        expected = self._expected.pop(number, None)
        if expected is not None and not self._faulted and not isinstance(message, Refusal):
            result = bytes(message.result) if isinstance(message, Reply) else message
            if result != expected:
                raise Broken(
                    f"an honest call in a batch with others is answered {result!r}: {self.told()}"
                )

    def settle(self) -> None:
        """Until every call has ended, and the server has read so far. Closes the socket."""
        try:
            self._end_all()
        finally:
            self.close()

    def _end_all(self) -> None:
        """Give every stream what it waits for, and wait until each call has ended."""
        ends = [each for number in self._pending for each in (Credit(number, 1000), End(number))]
        self._send(said(*ends))
        self._tokens += 1
        token = self._tokens + (1 << 40)
        self._send(said(Ping(token)))
        end = time.monotonic() + SOON
        # (before a hello, nothing but calls is answered)
        while not self.over and (self._pending or (self._pong != token and self._greeted)):
            self.hear(0.2)
            if self._monitor.poll(0):
                self.hear()
                self.over = True  # cut off: the session has ended, and its calls with it
            if time.monotonic() > end:
                raise Broken(
                    f"{len(self._pending)} calls never end, the first are "
                    f"{[self._shown(number) for number in list(self._pending)[:5]]}, "
                    f"pong {self._pong == token}; {self.told()}"
                )

    def _shown(self, number: int) -> str:
        for message in self._reads.decode(self._pending[number]):
            if isinstance(message, Call) and message.id == number:
                return encode(message).hex()
        return str(number)

    def told(self) -> str:
        """The last batches in hexadecimal, for who looks for the reason."""
        some = [
            [frame.hex() if len(frame) < 20_000 else len(frame) for frame in b] for b in self.recent
        ]
        return f"its last batches: {some}"

    def close(self) -> None:
        if not self.socket.closed:
            self.socket.disable_monitor()
            self._monitor.close(0)
            self.socket.close(0)
