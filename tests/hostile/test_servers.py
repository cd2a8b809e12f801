"""A hostile server against each client style: every call ends once, with an error of ours, in its
time; an honest server is called on.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgspec
import pytest
from processes import SOON
from promises import until
from raw import GREETING, args, ready, received, resident, said, value, zmtp
from ringback import errors
from ringback.protocol.messages import (
    About,
    Bye,
    Call,
    Credit,
    Drain,
    End,
    Error,
    Failure,
    Fault,
    Item,
    Map,
    Mapped,
    MethodFlags,
    Ping,
    Reached,
    Refusal,
    Reply,
    Welcome,
)
from servers import WELCOME, Behaviour, garbage, hostile, raw_reply
from styles import STYLES, Items

MIB = 1024 * 1024
TIMEOUT = 0.5
ANYTHING = errors.CallError
LATE = errors.DeadlineExceeded

# By name: what the server does with a call, and how the call ends.
BEHAVIOURS: dict[str, tuple[Behaviour, Any]] = {
    "silence": (lambda call: [], LATE),
    "the_wrong_id": (lambda call: [said(Reply(call.id + 1000, value(3)))], LATE),
    "ids_that_are_none": (
        lambda call: [said(Reply(0, value(3)), Reply((1 << 64) - 1, value(3)))],
        LATE,
    ),
    "the_wrong_type": (lambda call: [said(Reply(call.id, value("three")))], errors.InvalidArgument),
    "no_value": (
        lambda call: raw_reply(call, b"\xa1\xff"),
        (errors.InvalidArgument, errors.ProtocolError),
    ),
    "a_frame_that_is_not_there": (lambda call: raw_reply(call, b"\xd4\x01\x07"), ANYTHING),
    "the_end_of_a_stream": (lambda call: [said(End(call.id))], errors.ProtocolError),
    "an_item_then_silence": (lambda call: [said(Item(call.id, value(3)))], LATE),
    "credit_for_nothing": (
        lambda call: [said(Credit(call.id, (1 << 64) - 1), Credit(7, -1))],
        LATE,
    ),
    "garbage": (lambda call: [garbage()], errors.ProtocolError),
    "garbage_without_end": (lambda call: [garbage()] * 500, errors.ProtocolError),
    "another_version": (lambda call: [[b"RBK\x02\x90"]], errors.ProtocolError),
    "a_message_of_a_client": (lambda call: [said(call)], errors.ProtocolError),
    "a_batch_cut_short": (
        lambda call: [[said(Reply(call.id, value(3)))[0][:-1]]],
        errors.ProtocolError,
    ),
    "two_thousand_frames": (lambda call: [[*said(Ping(1)), *[b""] * 2000]], ANYTHING),
    "a_frame_that_is_too_large": (lambda call: [[bytes(20 * MIB)]], ANYTHING),
    "a_long_fault": (lambda call: [said(Fault("x" * 8 * MIB))], errors.ProtocolError),
    "an_error_of_a_megabyte": (
        lambda call: [said(Error(call.id, "UNKNOWN", "K" * MIB, "m" * MIB))],
        errors.RemoteError,
    ),
    "a_code_that_is_none": (lambda call: [said(Error(call.id, "\0", "", ""))], errors.CallError),
    "refusals_without_end": (
        lambda call: [said(Refusal(call.id, "UNAVAILABLE", "no", started=False))],
        errors.Unavailable,
    ),
    "a_bye_in_the_midst": (lambda call: [said(Bye(), Bye())], (LATE, errors.Unavailable)),
    "pings_without_end": (lambda call: [said(*[Ping(n) for n in range(20_000)])] * 5, LATE),
    "versions_without_end": (
        lambda call: [
            said(
                *[Reached(call.id + n % 2, {f"{n} {m}": m for m in range(200)}) for n in range(100)]
            )
        ],
        LATE,
    ),
}

# These end in a right answer all the same.
HARMLESS: dict[str, Behaviour] = {
    "doubled_replies": lambda call: [
        said(*[Reply(call.id, value(3))] * 3, Error(call.id, "UNKNOWN", "", "late"))
    ],
    "words_beside": lambda call: [
        said(Ping(1), Credit(9, 9), Item(99, value(1)), WELCOME, Reply(call.id, value(3)))
    ],
    "a_drain_at_once": lambda call: [said(Drain(), Drain(), Reply(call.id, value(3)))],
}

WELCOMES: dict[str, list[list[bytes]]] = {
    "twice": [said(WELCOME, WELCOME)],
    "weight_nan": [
        said(msgspec.structs.replace(WELCOME, about=About("primary", "z", float("nan"))))
    ],
    "weight_inf": [said(msgspec.structs.replace(WELCOME, about=About("", "", float("inf"))))],
    "weight_negative": [
        said(msgspec.structs.replace(WELCOME, about=About("no such role", "", -1e308)))
    ],
    "many_methods": [
        said(
            msgspec.structs.replace(
                WELCOME, methods={f"m{n}": MethodFlags() for n in range(30_000)}
            )
        )
    ],
    "numbers": [
        said(msgspec.structs.replace(WELCOME, max_in_flight=-(1 << 63), max_size=(1 << 64) - 1))
    ],
}


@pytest.fixture(params=list(STYLES))
def style(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip(request.param if request.param in ("gevent", "twisted") else "asyncio")
    return STYLES[request.param]()


def ended(style: Any, endpoints: list[str]) -> tuple[Any, float]:
    """How one call ends, and after how long; then the client is closed."""
    seen: list[Any] = []

    def script() -> Iterator[Any]:
        client = style.connect(*endpoints, timeout=TIMEOUT)
        begun = time.monotonic()
        try:
            seen.append((yield client.options(returns=int).fire("add", 1, 2)))
        except errors.CallError as error:
            seen.append(error)
        seen.append(time.monotonic() - begun)
        yield client.close()

    style.run(script)
    outcome, seconds = seen
    return outcome, seconds


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_call_ends_with_an_error_of_ours_in_its_time(style, name):
    behaviour, kind = BEHAVIOURS[name]
    before = resident(os.getpid())
    with hostile(behaviour) as endpoint:
        outcome, seconds = ended(style, [endpoint])
    assert isinstance(outcome, kind)
    assert seconds < TIMEOUT + 2.0
    assert resident(os.getpid()) < before + 64 * MIB


def converse(connection: socket.socket, *parts: tuple[bytes, *tuple[Any, ...]]) -> None:
    """Greet a client. Then send the messages of each part once its word has come."""
    connection.sendall(GREETING + ready(kind=b"ROUTER"))
    heard = b""
    for word, *messages in parts:
        while word not in heard:
            heard += received(connection)
        connection.sendall(zmtp(said(*messages)[0]))


@contextmanager
def unread(reads: threading.Event) -> Iterator[str]:
    """A server that gives a call credit without end, and does not read its items before `reads`;
    then it reads all, and answers 3.
    """

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            converse(
                connection,
                (b"RBK", Welcome(b"s" * 16, "s", 1 << 24, 100, {})),
                (b"take", Credit(1, 1 << 40)),
            )
            reads.wait(SOON)
            taken = 0
            while taken < 100 * MIB and (some := connection.recv(1 << 20)):
                taken += len(some)
            with suppress(OSError):  # the client may have gone
                connection.sendall(zmtp(said(Reply(1, value(3)))[0]))
                while connection.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536
        )  # else the system takes some more
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            reads.set()
            thread.join()


@pytest.mark.parametrize("late", [False, True], ids=["never", "late"])
def test_credit_without_end_of_a_server_that_does_not_read_leaves_a_client_its_memory(style, late):
    made: list[int] = []
    outcomes: list[Any] = []
    reads = threading.Event()

    def items() -> Iterator[bytes]:
        for number in range(100):
            made.append(number)
            yield bytes([number]) * MIB

    def script() -> Iterator[Any]:
        client = style.connect(endpoint, timeout=SOON if late else 0.5)
        call = client.fire("take", items(), errback=lambda _: None)
        if late:
            yield from until(lambda: len(made) >= 3)
            reads.set()
        try:
            outcomes.append((yield call))
        except errors.CallError as error:
            outcomes.append(type(error))
        yield client.close(
            now=not late
        )  # else it waits until the server has read that the call is over

    with unread(reads) as endpoint:
        style.run(script)
    if late:
        assert (outcomes, len(made)) == ([3], 100)
    else:
        assert outcomes == [LATE]
        assert len(made) < 16  # what the system takes, one batch and 1 MiB


MAPPING = [said(msgspec.structs.replace(WELCOME, about=About(max_mapped=100)))]

# What a server may say of a map of three calls, and how these end: with 3 each, or with that error.
MAPPED: dict[str, tuple[Behaviour, Any]] = {
    "all": (lambda call: [said(Mapped(call.id, 0, value([3, 3, 3])))], [3, 3, 3]),
    "in_pieces": (
        lambda call: [said(Mapped(call.id, 2, value([3])), Mapped(call.id, 0, value([3, 3])))],
        [3, 3, 3],
    ),
    "one_twice": (
        lambda call: [said(Mapped(call.id, 0, value([3])), Mapped(call.id, 0, value([4, 3, 3])))],
        [3, errors.ProtocolError, errors.ProtocolError],
    ),
    "one_of_the_wrong_type": (
        lambda call: [said(Mapped(call.id, 0, value([3, "x", 3])))],
        [3, errors.InvalidArgument, 3],
    ),
    "one_failed": (
        lambda call: [
            said(Mapped(call.id, 0, value([3, None, 3]), {1: Failure("UNKNOWN", "no", "KeyError")}))
        ],
        [3, errors.RemoteError, 3],
    ),
    "one_refused": (
        lambda call: [
            said(Mapped(call.id, 0, value([3, None, 3]), {1: Failure("UNAVAILABLE", "no")}))
            if type(call) is Map
            else said(Reply(call.id, value(3)))  # sent again by itself
        ],
        [3, 3, 3],
    ),
    "silence": (lambda call: [], [LATE] * 3),
    "one_alone": (lambda call: [said(Mapped(call.id, 1, value([3])))], [LATE, 3, LATE]),
    "too_many": (
        lambda call: [said(Mapped(call.id, 0, value([3] * 4)))],
        [errors.ProtocolError] * 3,
    ),
    "another_place": (
        lambda call: [said(Mapped(call.id, 3, value([3])))],
        [errors.ProtocolError] * 3,
    ),
    "a_place_below_all": (
        lambda call: [said(Mapped(call.id, -1, value([3])))],
        [errors.ProtocolError] * 3,
    ),
    "a_far_place": (
        lambda call: [said(Mapped(call.id, 1 << 62, value([])))],
        [errors.ProtocolError] * 3,
    ),
    "no_array": (lambda call: [said(Mapped(call.id, 0, value(3)))], [errors.ProtocolError] * 3),
    "no_value": (
        lambda call: [said(Mapped(call.id, 0, msgspec.Raw(b"\x91\xa1\xff")))],
        [errors.InvalidArgument, LATE, LATE],
    ),
    "an_error_of_the_whole": (
        lambda call: [said(Mapped(call.id, 0, value([3])), Error(call.id, "ABORTED", "", "cut"))],
        [3, errors.Aborted, errors.Aborted],
    ),
    "one_result": (lambda call: [said(Reply(call.id, value(3)))], [errors.ProtocolError] * 3),
    "of_another_map": (
        lambda call: [
            said(Mapped(call.id + 9, 0, value([1])), Mapped(call.id, 0, value([3, 3, 3])))
        ],
        [3, 3, 3],
    ),
}


@pytest.mark.parametrize("name", MAPPED)
def test_whatever_is_said_of_a_map_ends_its_calls_in_their_time(style, name):
    behaviour, expected = MAPPED[name]
    seen: list[Any] = []

    def script() -> Iterator[Any]:
        client = style.connect(endpoint, timeout=TIMEOUT)
        seen.extend((yield client.options(returns=int).fire_map("add", [1, 2, 3], [2, 1, 0])))
        yield client.close()

    with hostile(behaviour, MAPPING) as endpoint:
        style.run(script)
    for outcome, wanted in zip(seen, expected, strict=True):
        assert outcome == 3 if wanted == 3 else isinstance(outcome, wanted)


def test_a_server_without_maps_gets_single_calls(style):
    seen: list[Any] = []

    def script() -> Iterator[Any]:
        client = style.connect(endpoint, timeout=TIMEOUT)
        seen.extend((yield client.fire_map("add", range(200), range(200))))
        yield client.close()

    with hostile(lambda call: [said(Reply(call.id, value(3)))]) as endpoint:
        style.run(script)
    assert seen == [3] * 200


def test_what_a_lost_server_has_told_of_a_map_stays_where_the_next_takes_none(style):
    """Only the other calls of it are sent, one by one."""
    reads = msgspec.structs.replace(WELCOME, methods={"add": MethodFlags(readonly=True)})
    called: list[Any] = []
    seen: list[Any] = []

    def answer(call: Call) -> list[list[bytes]]:
        called.append(call.args)
        return [said(Reply(call.id, value(4)))]

    def lose_first(listening: socket.socket) -> None:
        """Answer two calls of a map, and end its connection.

        Then there is a server that takes no maps.
        """
        connection, _ = listening.accept()
        with listening, connection:
            converse(
                connection,
                (b"RBK", msgspec.structs.replace(reads, about=About(max_mapped=100))),
                (b"add", Mapped(1, 0, value([3])), Mapped(1, 2, value([3]))),
            )
        next_server.enter_context(hostile(answer, [said(reads)], endpoint))

    def script() -> Iterator[Any]:
        client = style.connect(endpoint, timeout=SOON)
        seen.extend((yield client.fire_map("add", range(4), range(4))))
        yield client.close()

    listening = socket.create_server(("127.0.0.1", 0))
    endpoint = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    with ExitStack() as next_server:
        thread = threading.Thread(target=lose_first, args=(listening,), daemon=True)
        thread.start()
        style.run(script)
        thread.join()
    assert seen == [3, 4, 3, 4]
    assert called == [args(1, 1), args(3, 3)]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_said_beside_the_answer_does_no_harm(style, name):
    with hostile(HARMLESS[name]) as endpoint:
        assert ended(style, [endpoint])[0] == 3


@pytest.mark.parametrize("name", WELCOMES)
def test_no_welcome_upsets_a_client(style, name):
    with (
        hostile(lambda call: [said(Reply(call.id, value(3)))], WELCOMES[name]) as one,
        hostile(lambda call: [said(Reply(call.id, value(3)))]) as other,
    ):
        assert ended(style, [one])[0] == 3
        assert ended(style, [one, other])[0] == 3


def test_a_reply_is_no_end_of_a_stream(style):
    seen: list[Any] = []

    def script() -> Iterator[Any]:
        client = style.connect(endpoint, timeout=SOON)
        try:
            seen.append((yield Items(client.stream("count", 3))))
        except errors.CallError as error:
            seen.append(type(error))
        yield client.close()

    with hostile(lambda call: [said(Reply(call.id, value(3)))]) as endpoint:
        style.run(script)
    assert seen == [errors.ProtocolError]
