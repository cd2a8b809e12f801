"""One client's long batches, and the calls it leaves behind, do not hold up the calls of others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from msgspec.msgpack import decode
from processes import SOON, eventually
from raw import Dealer, args, by_hand, reset, said, zmtp
from ringback import Server, Service
from ringback.clients import threading as blocking
from ringback.protocol.bounds import FRAME_BYTES
from ringback.protocol.messages import Bye, Call, Reply
from serving import serving

# Calls in a long batch: many parts of it, and few enough to wait for.
LONG = 320


@pytest.fixture
def done() -> list[int]:
    """The numbers of the calls that have run, in order."""
    return []


@pytest.fixture
def server(done: list[int]) -> Iterator[Server]:
    service = Service("turns")

    @service.method(inline=True)
    def pause(number: int) -> int:
        time.sleep(0.002)
        done.append(number)
        return number

    @service.method(inline=True)
    def start(value: bytes) -> bytes:
        return value[:2]

    service.method(name="count", inline=True)(lambda: len(done))
    with serving(service) as server:
        yield server


def calls(method: str, first: int, count: int) -> list[Call]:
    return [Call(number, method, args(number)) for number in range(first, first + count)]


def test_others_are_served_between_the_parts_of_a_long_batch(
    server: Server, done: list[int]
) -> None:
    with closing(blocking.connect(server.endpoint, transport="native")) as other:
        assert other.call("count") == 0
        with Dealer(server.endpoint) as peer:
            peer.say(*calls("pause", 1, LONG))
            eventually(lambda: done)
            assert 0 < other.call("count") < LONG // 2
            eventually(lambda: len(done) == LONG)


def test_the_next_batch_of_a_client_follows_the_last_part_of_the_one_before(
    server: Server, done: list[int]
) -> None:
    with Dealer(server.endpoint) as one, Dealer(server.endpoint) as two:
        assert one.hear()  # both are connected: a handshake takes turns, too
        assert two.hear()
        for first in (1, 51, 101):
            one.say(*calls("pause", first, 50))
            two.say(*calls("pause", 1000 + first, 50))
        eventually(lambda: len(done) == 300)
    assert [number for number in done if number < 1000] == list(range(1, 151))
    assert [number for number in done if number > 1000] == list(range(1001, 1151))
    assert done != sorted(done), "the batches of two clients took no turns"


def test_each_batch_keeps_its_own_frames(server: Server) -> None:
    values = [[bytes([mark, number]) * FRAME_BYTES for number in range(3)] for mark in range(4)]
    with ExitStack() as stack:
        peers = [stack.enter_context(Dealer(server.endpoint)) for _ in values]
        for peer, own in zip(peers, values, strict=True):
            large = [Call(100 + number, "start", args(value)) for number, value in enumerate(own)]
            batch = said(*calls("pause", 1, 40), *large)
            assert len(batch) == 4
            peer.send(batch)
        for peer, own in zip(peers, values, strict=True):
            answers: dict[int, Any] = {}
            while len(answers) < 43:
                heard = peer.hear()
                assert heard
                answers |= {
                    each.id: decode(each.result) for each in heard if isinstance(each, Reply)
                }
            assert [answers[100 + number] for number in range(3)] == [each[:2] for each in own]


def test_nothing_of_a_long_batch_runs_once_its_session_has_ended(
    server: Server, done: list[int]
) -> None:
    with (
        closing(blocking.connect(server.endpoint, transport="native")) as other,
        Dealer(server.endpoint) as peer,
    ):
        peer.say(*calls("pause", 1, 40), Bye(), *calls("pause", 41, 40))
        eventually(lambda: done)
        while (before := other.call("count")) < other.call("count"):
            pass
        assert before <= 40


def test_the_calls_that_a_client_leaves_behind_are_cancelled_in_many_turns() -> None:
    many = 5000
    service = Service("left")
    began = ended = 0

    @service.method
    async def wait() -> None:
        nonlocal began, ended
        began += 1
        try:
            await asyncio.sleep(60)
        finally:
            ended += 1

    def leave(endpoint: str) -> None:
        with by_hand(endpoint) as client:
            batch = [Call(number, "wait", args()) for number in range(1, many + 1)]
            client.sendall(zmtp(said(*batch)[0]))
            eventually(lambda: began == many)
            reset(client)

    async def main() -> set[int]:
        """How many had ended at each turn of the loop."""
        seen = {0}
        options = {"transport": "native", "max_in_flight": 20_000}
        async with Server(service, "tcp://127.0.0.1:*", backend="asyncio", **options) as server:
            await asyncio.to_thread(leave, server.endpoint)
            deadline = time.monotonic() + SOON
            while ended < many and time.monotonic() < deadline:
                seen.add(ended)
                await asyncio.sleep(0)
        return seen

    seen = asyncio.run(main())
    assert ended == many
    assert len(seen) > many // 200
