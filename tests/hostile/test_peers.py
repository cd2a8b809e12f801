"""Attacks on a running server, while an honest client calls it all the time: that is served, the
memory comes back, the server ends well.

Each attack is a function of the endpoint; it takes about `SECONDS`, or its own number of messages.
"""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

import collisions
import msgspec
import pytest
import zmq
from msgspec.msgpack import encode
from processes import SOON, ServerProcess, eventually
from raw import (
    GREETING,
    HELLO,
    Dealer,
    Honest,
    Watch,
    address,
    args,
    by_hand,
    descriptors,
    processor_time,
    ready,
    reset,
    resident,
    said,
    threads,
    value,
    zmtp,
    zmtp_short,
)
from ringback.protocol import codec
from ringback.protocol.messages import (
    Bye,
    Call,
    CallOptions,
    Cancel,
    Credit,
    Drained,
    End,
    Fault,
    Hello,
    Item,
    Notify,
    Ping,
    Pong,
)
from ringback.protocol.values import NOTHING, STREAM
from sizes import size

MIB = 1024 * 1024
# What a server may hold beyond its start while an attack lasts, and after it, in bytes.
GROWTH = 64 * MIB
SECONDS = size(0.3, 5.0)
# Seconds by which honest calls may take longer than without attacks: the promise, of 99 in a
# hundred. In
# the small run there are too few of them to tell the hundredth from the worst.
LATER = size(0.6, 0.05)
# Large messages that a call may meet: one is dealt with when it comes, and one when its answer is
# due.
MESSAGES = 2

Attack = Callable[[str], None]


def for_a_while() -> Iterator[int]:
    end = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < end:
        number += 1
        yield number


def flood(endpoint: str, batch: Callable[[int], list[bytes]]) -> None:
    """As many batches as go, with all answers read; over another connection where one is cut."""
    with Dealer(endpoint, again=True) as peer:
        for number in for_a_while():
            if not peer.send(batch(number)):
                return
            peer.skip()


# The attacks


def small_batches(endpoint: str) -> None:
    flood(endpoint, lambda n: said(Call(n, "add_inline", args(n, 1))))


def long_batches(endpoint: str) -> None:
    calls = 500
    flood(
        endpoint,
        lambda n: said(*(Call(n * calls + i, "add_inline", args(i, 1)) for i in range(calls))),
    )


def pings_by_the_thousand(endpoint: str) -> None:
    with Dealer(endpoint) as peer:
        for _ in range(size(10, 100)):
            peer.send(fifty_thousand_pings(1))
            peer.skip()


def large_arguments(endpoint: str) -> None:
    flood(endpoint, large_argument)


def many_objects(endpoint: str) -> None:
    flood(endpoint, arrays_of_nothing)


@functools.cache
def colliding_keys() -> bytes:
    return collisions.as_map(map(encode, collisions.tuples(40_000)))


def keys_of_one_hash(endpoint: str) -> None:
    """What would hold the loop for ten seconds: many keys that are equal in their hash, untyped or
    not.
    """
    keys = colliding_keys()
    calls = [
        Call(1, "echo", msgspec.Raw(b"\x91" + keys)),
        Call(2, "echo_async", NOTHING, {"value": msgspec.Raw(keys)}),
        Call(3, "add", msgspec.Raw(b"\x92\x01" + keys)),
        Call(4, "add", args(1, 2), options=CallOptions({"a": msgspec.Raw(keys)})),
    ]
    with Dealer(endpoint) as peer:
        peer.hear()
        for call in calls:
            peer.say(call)
            assert [message.code for message in peer.hear()] == ["INVALID_ARGUMENT"]


def one_frame_named_a_million_times(endpoint: str) -> None:
    with Dealer(endpoint) as peer:
        for number in range(1, 4):
            peer.send(a_million_references(number))
            assert peer.hear(), "no answer"


def integers_of_a_megabyte(endpoint: str) -> None:
    flood(endpoint, an_integer)


def deep_nesting(endpoint: str) -> None:
    flood(
        endpoint, lambda n: said(Call(n, "echo", msgspec.Raw(b"\x91" * (900 + n % 200) + b"\xc0")))
    )


def connections_without_a_word(endpoint: str) -> None:
    with ExitStack() as stack:
        for _ in range(size(100, 500)):
            stack.enter_context(by_hand(endpoint, handshake=False))
        time.sleep(SECONDS)


def handshakes_without_a_hello(endpoint: str) -> None:
    with ExitStack() as stack:
        for _ in range(size(100, 500)):
            stack.enter_context(by_hand(endpoint, hello=False))
        time.sleep(SECONDS)


def half_a_greeting(endpoint: str) -> None:
    with ExitStack() as stack:
        for number in range(size(50, 500)):
            connection = stack.enter_context(by_hand(endpoint, handshake=False))
            connection.sendall((GREETING + ready())[: 1 + number % 80])
        time.sleep(SECONDS)


def half_a_hello(endpoint: str) -> None:
    hello = zmtp(said(HELLO)[0])
    with ExitStack() as stack:
        for number in range(size(50, 500)):
            connection = stack.enter_context(by_hand(endpoint, hello=False))
            connection.sendall(hello[: 1 + number % (len(hello) - 1)])
        time.sleep(SECONDS)


def a_byte_at_a_time(endpoint: str) -> None:
    data = zmtp(said(Call(1, "add", args(1, 2)))[0])
    with ExitStack() as stack:
        slow = [stack.enter_context(by_hand(endpoint)) for _ in range(20)]
        for byte in data[: size(5, 1000)]:
            for connection in slow:
                connection.sendall(bytes([byte]))
            time.sleep(SECONDS / 20)


def frames_without_an_end(endpoint: str) -> None:
    frames = zmtp(bytes(10_000), more=True) * 100
    with by_hand(endpoint) as connection, suppress(OSError):
        end = time.monotonic() + SOON
        while time.monotonic() < end:
            connection.sendall(frames)


def conversations_again(endpoint: str) -> None:
    whole = [
        said(HELLO),
        said(Call(1, "add", args(1, 2)), Call(2, "count", args(3), credit=9), Cancel(1)),
        said(
            Call(1, "add", args(1, 2)),
            Call(2, "nap", args(0.001)),
            Credit(2, 3),
            Item(2, value(1)),
            End(2),
        ),
        said(Drained()),
    ]
    for number in for_a_while():
        with Dealer(endpoint, hello=False) as peer:
            for batch in whole * (1 + number % 3):
                peer.send(batch)
            peer.hear()


def credit_without_measure(endpoint: str) -> None:
    most = (1 << 64) - 1

    def batch(number: int) -> list[bytes]:
        return said(
            Call(2 * number, "count", args(50), credit=most),
            Call(2 * number + 1, "count_async", args(50), credit=1),
            *(Credit(2 * number + 1, items) for items in (most, most, -1, -(1 << 63), 0)),
            *(Credit(id_, most) for id_ in (0, -1, 2 * number + 2, most)),
        )

    flood(endpoint, batch)


def items_that_nobody_asked_for(endpoint: str) -> None:
    for _ in for_a_while():
        with Dealer(endpoint) as peer:
            peer.say(Call(1, "sum_of", args(STREAM)), Call(2, "add", args(1, 2)))
            for number in range(100):
                peer.say(*(Item(1 + number % 3, value(number)) for _ in range(100)))


def routing_ids_of_their_own(endpoint: str) -> None:
    chosen = [b"\0" + (n * 16777619 & 0xFFFFFFFF).to_bytes(4, "big") for n in range(20)]
    for _ in for_a_while():
        with ExitStack() as stack:
            for identity in [*chosen, b"me", b"me", b"x" * 255]:
                connection = stack.enter_context(by_hand(endpoint, identity=identity))
                connection.sendall(zmtp(said(Call(1, "add", args(1, 2)))[0]))
            with Dealer(endpoint, identity=b"me") as peer:
                peer.say(Call(1, "add", args(1, 2)))


def other_protocols(endpoint: str) -> None:
    with ExitStack() as stack:
        for first in (
            b"RBK\x02\x90",
            b"RBJ\x01\x90",
            b"",
            b"R",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01",
        ):
            peer = stack.enter_context(Dealer(endpoint))
            peer.send([first])
            raw = stack.enter_context(by_hand(endpoint, handshake=False))
            raw.sendall(first or b"\0")
            assert any(isinstance(message, Fault) for _ in range(2) for message in peer.hear())


def unknown_methods(endpoint: str) -> None:
    flood(
        endpoint, lambda n: said(*(Call(n * 100 + i, f"no.such.{i}", NOTHING) for i in range(100)))
    )


def names_of_a_megabyte(endpoint: str) -> None:
    flood(endpoint, large_names)


def metadata_of_a_megabyte(endpoint: str) -> None:
    flood(endpoint, large_metadata)


def hellos_of_eight_megabytes(endpoint: str) -> None:
    with ExitStack() as stack:
        for _ in range(size(20, 100)):
            peer = stack.enter_context(Dealer(endpoint, hello=False))
            peer.send(large_hello(0))
            peer.skip()


def connects_and_disconnects(endpoint: str) -> None:
    with zmq.Context() as context:
        for number in range(size(200, 10_000)):
            with context.socket(zmq.DEALER) as peer:
                peer.set(zmq.LINGER, 0)
                peer.connect(endpoint)
                if number % 2:
                    peer.send_multipart(said(HELLO))
                    peer.poll(1000)


def answers_that_nobody_reads(endpoint: str) -> None:
    with Dealer(endpoint) as peer:
        given = args("x" * 50_000)
        for number in for_a_while():
            if not peer.say(*(Call(number * 10 + i, "echo", given) for i in range(10))):
                return


def answers_that_many_do_not_read(endpoint: str) -> None:
    calls = zmtp(said(*(Call(number, "echo", args("x" * 100_000)) for number in range(1, 40)))[0])
    with ExitStack() as stack:
        many = [stack.enter_context(by_hand(endpoint)) for _ in range(size(100, 1000))]
        for connection in many:
            connection.setblocking(False)
            with suppress(OSError):  # what is not taken is of no use to it either
                connection.send(calls)
        time.sleep(SECONDS)


def halves_of_large_messages(endpoint: str) -> None:
    half = (zmtp(bytes(8 * MIB)))[: 4 * MIB]
    with ExitStack() as stack:
        many = [stack.enter_context(by_hand(endpoint)) for _ in range(size(30, 200))]
        for connection in many:
            connection.setblocking(False)
        left = dict.fromkeys(many, 0)
        for _ in for_a_while():
            for connection in list(left):
                with suppress(BlockingIOError):
                    try:
                        left[connection] += connection.send(half[left[connection] :])
                    except ConnectionError:
                        del left[connection]


def a_million_empty_frames(endpoint: str) -> None:
    frames = zmtp_short(b"", more=True) * 1_000_000
    for number in for_a_while():
        with by_hand(endpoint, hello=bool(number % 2)) as connection, suppress(OSError):
            connection.sendall(frames)
            connection.recv(4096)


def resets_after_each_byte(endpoint: str) -> None:
    """Of an opening, a hello and a call; and again."""
    call = zmtp(said(Call(1, "add", args(1, 2)))[0])
    data = GREETING + ready() + zmtp(said(HELLO)[0]) + call * 10
    assert len(data) >= 400
    for number in for_a_while():
        with socket.create_connection(address(endpoint)) as connection:
            connection.sendall(data[: number % 400])
            reset(connection)


def notes_without_end(endpoint: str) -> None:
    notes = [
        Notify("add", args(1, 2)),
        Notify("no.such", NOTHING),
        Notify("count", args(3)),
        Notify("add", args("x")),
    ] * 50
    flood(endpoint, lambda _: said(*notes))


def words_after_a_fault(endpoint: str) -> None:
    batch = said(*(Call(n, "add", args(1, 2)) for n in range(1, 200)))
    with Dealer(endpoint) as peer:
        peer.say(HELLO)
        for _ in for_a_while():
            if not peer.send(batch):
                return


def byes_and_more(endpoint: str) -> None:
    for _ in for_a_while():
        with Dealer(endpoint) as peer:
            peer.say(Call(1, "nap", args(10.0)), Bye(), Call(2, "add", args(1, 2)), Ping(1), Bye())


def calls_and_cancels(endpoint: str) -> None:
    """In the same batch, and in the next: what is cancelled is in flight until its handler has
    ended. Each handler takes 20 ms, and there
    are as many at once as workers: others wait for one of them."""

    def batch(number: int) -> list[bytes]:
        ids = range(number * 200, number * 200 + 200)
        cancels = [Cancel(id_) for id_ in (*ids[::-2], *(id_ - 200 for id_ in ids[::2]))]
        return said(*(Call(id_, ("nap", "work")[id_ & 1], args(0.02)) for id_ in ids), *cancels)

    flood(endpoint, batch)


def as_many_calls_as_there_are_places(endpoint: str) -> None:
    flood(endpoint, lambda n: said(*(Call(n * 500 + i, "nap", args(60.0)) for i in range(500))))


# Large messages, of which one alone takes its time


def fifty_thousand_pings(number: int) -> list[bytes]:
    token = b"\x92\x0c" + bytes([number & 0x7F])
    return [codec.PREAMBLE + b"\xdd" + (50_000).to_bytes(4, "big") + token * 50_000]


def large_argument(number: int) -> list[bytes]:
    return said(Call(number, "metadata", args(bytes(8 * MIB))))


def arrays_of_nothing(number: int) -> list[bytes]:
    """What takes the most memory for its bytes."""
    arrays = b"\x91\xdd" + (1_000_000).to_bytes(4, "big") + b"\x90" * 1_000_000
    return said(Call(number, "metadata", msgspec.Raw(arrays)))


def a_million_references(number: int) -> list[bytes]:
    names = b"\x91\xdd" + (1_000_000).to_bytes(4, "big") + b"\xd4\x01\x00" * 1_000_000
    return [*said(Call(number, "echo", msgspec.Raw(names))), bytes(1 * MIB)]


def an_integer(number: int) -> list[bytes]:
    return said(Call(number, "big", args((1 << 800_000) + number)))


def large_names(number: int) -> list[bytes]:
    name = "é" * MIB
    notes = Notify(name, NOTHING), Notify("add", NOTHING, {name: value(1)})
    return said(Call(number, name, NOTHING), *notes)


def large_metadata(number: int) -> list[bytes]:
    options = CallOptions(
        {"a": "x" * MIB, "b": [{}] * 1000}, 1 << 63, "k" * 300, {"tests": 1 << 63}
    )
    return said(Call(number, "nap", args(0.01), options=options, timeout=(1 << 64) - 1))


def large_hello(_: int) -> list[bytes]:
    return said(Hello(bytes(8 * MIB), (1 << 64) - 1, "x" * MIB))


def large_keys(number: int) -> list[bytes]:
    return said(Call(number, "echo", msgspec.Raw(b"\x91" + colliding_keys())))


def unread_answers(number: int) -> list[bytes]:
    return said(*(Call(number * 10 + i, "echo", args("x" * 50_000)) for i in range(10)))


# The attacks by such messages: honest calls wait while one of them is dealt with, which is
# measured.
LARGE: dict[Attack, Callable[[int], list[bytes]]] = {
    pings_by_the_thousand: fifty_thousand_pings,
    large_arguments: large_argument,
    many_objects: arrays_of_nothing,
    keys_of_one_hash: large_keys,
    one_frame_named_a_million_times: a_million_references,
    integers_of_a_megabyte: an_integer,
    names_of_a_megabyte: large_names,
    metadata_of_a_megabyte: large_metadata,
    hellos_of_eight_megabytes: large_hello,
    answers_that_nobody_reads: unread_answers,
}


def is_idle(pid: int) -> bool:
    """Whether a process uses less than a third of a processor, for a tenth of a second."""
    before = processor_time(pid)
    time.sleep(0.1)
    return processor_time(pid) - before < 0.03


def seconds_of_one(endpoint: str, attack: Attack) -> float:
    """What one message of that attack takes of a server that is idle, from end to end; 0 where they
    are small.
    """
    make = LARGE.get(attack)
    took = []
    for number in range(1, 4) if make is not None else ():
        with Dealer(endpoint, hello=make is not large_hello) as peer:
            message = make(number)
            if make is not large_hello:
                peer.hear()
            begun = time.monotonic()
            peer.send(message)
            peer.say(Ping(99))
            while make is not large_hello and Pong(99) not in peer.hear():
                pass
            if make is large_hello:
                peer.hear()
            took.append(time.monotonic() - begun)
    return max(took, default=0.0)


ATTACKS = (
    small_batches,
    long_batches,
    pings_by_the_thousand,
    large_arguments,
    many_objects,
    keys_of_one_hash,
    one_frame_named_a_million_times,
    integers_of_a_megabyte,
    deep_nesting,
    connections_without_a_word,
    handshakes_without_a_hello,
    half_a_greeting,
    half_a_hello,
    a_byte_at_a_time,
    frames_without_an_end,
    conversations_again,
    credit_without_measure,
    items_that_nobody_asked_for,
    routing_ids_of_their_own,
    other_protocols,
    unknown_methods,
    names_of_a_megabyte,
    metadata_of_a_megabyte,
    hellos_of_eight_megabytes,
    connects_and_disconnects,
    answers_that_nobody_reads,
    answers_that_many_do_not_read,
    halves_of_large_messages,
    a_million_empty_frames,
    resets_after_each_byte,
    notes_without_end,
    words_after_a_fault,
    byes_and_more,
    calls_and_cancels,
    as_many_calls_as_there_are_places,
)


class Attacked(NamedTuple):
    """A server, and its honest client, for all attacks on one backend; `idle` is the p99 of that
    without attacks, in seconds.
    """

    server: ServerProcess
    honest: Honest
    before: dict[str, int]
    idle: float


@pytest.fixture(scope="module")
def attacked() -> Iterator[Callable[[str], Attacked]]:
    """`attacked(backend)`: the server that all attacks are made on; it must end with status 0 when
    they are over.
    """
    running: dict[str, Attacked] = {}

    def get(backend: str) -> Attacked:
        if backend not in running or running[backend].server.process.poll() is not None:
            server = ServerProcess(backend, "service", "--workers", "8", "--max-in-flight", "20000")
            memory = resident(server.process.pid)
            honest = Honest(server.endpoint)
            with honest.calling():
                time.sleep(size(1.0, 5.0))
            pid = server.process.pid
            running[backend] = Attacked(
                server,
                honest,
                {"descriptors": descriptors(pid), "threads": threads(pid), "memory": memory},
                honest.quantile(0.99),
            )
        return running[backend]

    yield get
    try:
        for one in running.values():
            pid, before = one.server.process.pid, one.before
            end = time.monotonic() + SOON
            while (
                left := (descriptors(pid) - before["descriptors"], threads(pid) - before["threads"])
            ) > (
                40,
                0,
            ):
                assert time.monotonic() < end, f"more descriptors and threads: {left}"
                time.sleep(0.05)
            assert left[1] <= 20, (
                f"more threads: {left[1]}"
            )  # workers come with the first calls that need them
            one.honest.close()
            assert one.server.stop() == 0, one.server.log
    finally:
        for one in running.values():
            one.server.kill()


@pytest.mark.timeout(size(120, 600))
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_harms_nobody_else(attacked, table, backend, attack):
    server, honest, before, idle = attacked(backend)
    pid = server.process.pid
    # What the attack before has left is done.
    eventually(lambda: is_idle(pid), 4 * SOON)
    one = seconds_of_one(server.endpoint, attack)
    lines = server.log.count("\n")
    begun = time.monotonic()
    with Watch(pid) as watch, honest.calling():
        attack(server.endpoint)
    assert server.process.poll() is None, server.log
    eventually(lambda: resident(pid) < before["memory"] + GROWTH)
    seconds = time.monotonic() - begun
    table.append(
        (
            backend,
            attack.__name__.replace("_", " "),
            len(honest.took),
            honest.quantile(0.5) * 1000,
            honest.quantile(0.99) * 1000,
            honest.took[-1] * 1000,
            (watch.most - before["memory"]) / MIB,
            (resident(pid) - before["memory"]) / MIB,
            one * 1000,
        )
    )
    assert honest.wrong == []
    assert watch.most - before["memory"] < GROWTH
    assert honest.quantile(0.99) < idle + LATER + MESSAGES * one
    # A line a second of each of two or three causes, and how many more there were.
    assert server.log.count("\n") - lines <= 6 * (seconds + 2), server.log[-5000:]


def test_who_never_says_hello_is_cut_off(start_server, connected, backend):
    server = start_server(backend)
    other = connected(server.endpoint)
    assert other.call("add", 1, 2) == 3
    with (
        by_hand(server.endpoint, hello=False) as silent,
        by_hand(server.endpoint, hello=False) as slow,
    ):
        silent.settimeout(2 * SOON)
        slow.settimeout(2 * SOON)
        slow.sendall(zmtp(b"RBK\x01", more=True))
        for connection in (silent, slow):
            with suppress(ConnectionError):
                while connection.recv(4096):
                    pass
    assert server.logged("sent nothing for")
    assert other.call("add", 1, 2) == 3
    assert server.stop() == 0
