"""Arguments that stream at the server's bounds: what they hold counts, and what is too much ends
its own call.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import msgspec
import pytest
import ringback
from asking import Asking, asking
from processes import SOON
from ringback import errors
from ringback.protocol.messages import (
    Call,
    Cancel,
    Credit,
    End,
    Error,
    Item,
    Ping,
    Pong,
    Refusal,
    Reply,
)
from ringback.protocol.values import STREAM, pack, pack_args

BOUND = 1 << 20
LARGE = pack("x" * 600_000, BOUND)
ARGS = pack_args((STREAM,), BOUND)


@contextmanager
def serving(reads: threading.Event, **options: int) -> Iterator[ringback.Server]:
    """A server whose handlers read when they are told to, or never."""
    service = ringback.Service("uploads")

    @service.method
    def count(items: Iterator[str]) -> int:
        assert reads.wait(SOON)
        return sum(1 for _ in items)

    @service.method
    async def never(items: AsyncIterator[str]) -> None:
        await asyncio.Event().wait()

    @service.method
    async def leave(items: AsyncIterator[str]) -> None:
        while not reads.is_set():
            await asyncio.sleep(0.005)

    with ringback.Server(service, "tcp://127.0.0.1:*", backend="threading", **options) as server:
        yield server


def begin(client: Asking, id_: int, method: str) -> None:
    client.say(Call(id_, method, ARGS))
    assert client.next() == Credit(id_, 2)


def counted(client: Asking) -> int:
    while isinstance(answer := client.next(), Credit):
        pass
    assert isinstance(answer, Reply)
    return msgspec.msgpack.decode(answer.result, type=int)


def test_an_item_for_which_there_is_no_room_ends_its_call_alone():
    reads = threading.Event()
    with serving(reads, max_bytes_in_flight=BOUND) as server, asking(server.endpoint) as client:
        begin(client, 1, "count")
        begin(client, 2, "never")
        client.say(Item(1, LARGE), Item(1, LARGE), Item(2, LARGE), Ping(5))
        error = client.next()
        assert (type(error), error.id, error.code) == (Error, 2, "RESOURCE_EXHAUSTED")
        assert "bytes in flight" in error.message
        assert client.next() == Pong(5)
        reads.set()
        client.say(End(1))
        assert counted(client) == 2


def test_a_method_whose_items_are_known_to_be_small_lets_many_come_at_once():
    reads = threading.Event()
    reads.set()
    with serving(reads) as server, asking(server.endpoint) as client:
        allowed = []
        for id_ in (1, 2):
            client.say(Call(id_, "count", ARGS))
            allowed.append(client.next().items)
            client.say(Item(id_, pack("small", BOUND)), End(id_))
            assert counted(client) == 1
    assert allowed == [4, 64]


def test_items_that_are_taken_make_room_for_others():
    reads = threading.Event()
    reads.set()
    with serving(reads, max_bytes_in_flight=BOUND) as server, asking(server.endpoint) as client:
        begin(client, 1, "count")
        allowed, sent = 2, 0
        while sent < 20:  # of 600 KB each, where no more than two can lie there
            while allowed and sent < 20:
                client.say(Item(1, LARGE))
                allowed, sent = allowed - 1, sent + 1
            if sent < 20:
                credit = client.next()
                assert isinstance(credit, Credit)
                allowed += credit.items
        client.say(End(1))
        assert counted(client) == 20


def has_room(endpoint: str) -> bool:
    """Whether the server takes calls again, before long."""
    deadline = time.monotonic() + SOON
    with asking(endpoint) as client:
        for id_ in range(1, 1 << 30):
            client.say(Call(id_, "never", ARGS))
            if isinstance(client.next(), Credit):
                return True
            assert time.monotonic() < deadline
    return False


@pytest.mark.parametrize("end", ["a cancel", "a loss", "a wrong item", "its handler"])
def test_the_end_of_a_call_gives_back_what_its_unread_items_held(end):
    reads = threading.Event()
    with serving(reads, max_bytes_in_flight=BOUND) as server, asking(server.endpoint) as other:
        with asking(server.endpoint) as client:
            begin(client, 1, "leave")
            begin(client, 2, "never")
            client.say(Item(1, LARGE), Item(2, LARGE), Ping(1))
            assert client.next() == Pong(1)
            other.say(Call(1, "never", ARGS))
            assert isinstance(other.next(), Refusal)
            if end == "a cancel":
                client.say(Cancel(1))
            elif end == "a wrong item":
                client.say(Item(1, pack(5, BOUND)))
                assert client.next().code == "INVALID_ARGUMENT"
            elif end == "its handler":
                reads.set()
                assert client.next().id == 1
            if end != "a loss":
                assert has_room(server.endpoint)
        assert has_room(server.endpoint)


def test_an_item_of_too_many_elements_ends_its_call_alone():
    reads = threading.Event()
    with (
        serving(reads, max_elements=1 << 19) as server,
        ringback.connect(server.endpoint, timeout=SOON) as client,
    ):
        held = client.fire("count", iter(["a", "b"]))
        with pytest.raises(
            errors.ResourceExhausted, match="an item has more than 524,288 elements"
        ):
            client.call("never", iter([[0] * 600_000]))
        reads.set()
        assert held.result(SOON) == 2
