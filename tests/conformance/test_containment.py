"""One fault is one fault: what a caller's own code raises, and what cannot be sent, ends its call,
and every other is answered.
"""

from __future__ import annotations

import ctypes
import enum
import sys
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pytest
from faulty import RAISED
from promises import promise, promise_for, until
from ringback import errors
from styles import Begin, Items

MIB = 1024 * 1024

# What ends a program, a thread, a greenlet, a generator.
ENDINGS = [SystemExit, KeyboardInterrupt, GeneratorExit, AssertionError]


class Method(enum.StrEnum):
    ADD = "add"


def honest(client, number=20):
    """Calls that are in flight with whatever comes next, and what checks their answers."""
    futures = [client.fire(("add", "add_inline")[one % 2], one, 1) for one in range(number)]

    def answered():
        for one, future in enumerate(futures):
            assert (yield future) == one + 1

    return answered


# What cannot be sent


@pytest.mark.parametrize(
    "unsendable",
    [
        pytest.param((ctypes.c_void_p * 3)(), id="addresses"),
        pytest.param([(ctypes.c_char_p * 20_000)()], id="many-addresses"),
        pytest.param(memoryview((ctypes.c_void_p * 3)()), id="a-view-of-addresses"),
        pytest.param(object(), id="an-object"),
        pytest.param(msgspec.msgpack.Ext(-1, b"abc"), id="no-time"),
        pytest.param(msgspec.Raw(b""), id="nothing-packed"),
        pytest.param([msgspec.Raw(b"\x01\x02")], id="too-much-packed"),
    ],
)
@promise
def test_an_argument_that_cannot_travel_ends_its_own_call(client, unsendable):
    answered = honest(client)
    with pytest.raises(errors.InvalidArgument):
        yield client.call("echo", unsendable)
    with pytest.raises(errors.InvalidArgument):
        yield client.call("echo", value=unsendable)
    yield from answered()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", True),
        ("priority", 1 << 63),
        ("priority", 1.0),
        ("timeout", -1),
        ("timeout", float("nan")),
        ("timeout", True),
        ("metadata", {1: 2}),
        ("metadata", {"\ud800": 1}),
        ("metadata", {"a": "\ud800"}),
        ("metadata", {"a": object()}),
        ("metadata", {"a": msgspec.msgpack.Ext(-1, b"abc")}),
        ("metadata", {"a": 1 << 70}),
        ("idempotency_key", "\ud800"),
        ("idempotency_key", "x" * 256),
        ("idempotency_key", b"key"),
        ("returns", 5),
        ("session", {"tests": 1 << 63}),
        ("session", {"\ud800": 1}),
        ("wait_for_ready", 1),
        ("hedge", 1),
        ("attempts", True),
    ],
)
@promise
def test_an_option_that_cannot_travel_is_refused_when_it_is_given(client, name, value):
    with pytest.raises(TypeError, match=name):
        client.options(**{name: value})
    yield from honest(client, 2)()


@promise
def test_metadata_that_are_too_large_are_refused_when_they_are_given(client):
    answered = honest(client)
    with pytest.raises(errors.ResourceExhausted, match="metadata"):
        client.options(metadata={"blob": bytes(17 * MIB)})
    yield from answered()


@promise
def test_what_is_too_large_together_with_its_metadata_ends_its_own_call(client):
    answered = honest(client)
    view = client.options(metadata={"blob": bytes(9 * MIB)})
    with pytest.raises(errors.ResourceExhausted, match="too large"):
        yield view.call("echo", bytes(9 * MIB))
    with pytest.raises(errors.ResourceExhausted, match="too large"):
        yield view.call("echo", value="x" * 9 * MIB)
    assert len((yield view.call("echo", bytes(4 * MIB)))) == 4 * MIB
    yield from answered()


@promise
def test_metadata_travel_as_they_were_when_they_were_given(client):
    nested = {"user": "ada"}
    view = client.options(metadata={"nested": nested})
    nested["user"] = object()
    assert (yield view.call("metadata")) == {"nested": {"user": "ada"}}


@promise
def test_a_method_may_be_named_by_any_kind_of_text(client):
    assert (yield client.call(Method.ADD, 1, 2)) == 3
    assert (yield client.fire(Method.ADD, 1, b=2)) == 3
    with pytest.raises(errors.ResourceExhausted, match="name"):
        yield client.call("x" * 100_000)
    with pytest.raises(TypeError):
        yield client.call(5)
    yield from honest(client, 2)()


# What is exact


@pytest.mark.parametrize("method", ["double", "double_inline"])
@promise
def test_a_decimal_is_not_made_of_a_float(client, method):
    with pytest.raises(errors.InvalidArgument, match="float"):
        yield client.call(method, 0.1 + 0.2)
    assert Decimal((yield client.call(method, "0.3"))) == Decimal("0.6")
    assert Decimal((yield client.call(method, 3))) == 6


@promise
def test_a_result_is_no_decimal_where_it_is_a_float(client):
    exact = client.options(returns=Decimal)
    with pytest.raises(errors.InvalidArgument, match="float"):
        yield exact.call("echo", 0.1 + 0.2)
    assert (yield exact.call("echo", "0.3")) == Decimal("0.3")


# The caller's own code


def raising(kind: type[BaseException]) -> type[Any]:
    """A type that raises when something is made of it."""

    @dataclass
    class Raising:
        x: int

        def __post_init__(self) -> None:
            raise kind("on purpose")

    return Raising


@pytest.mark.parametrize("kind", ENDINGS)
@promise
def test_what_the_type_of_a_result_raises_ends_its_own_call(client, kind):
    view = client.options(returns=raising(kind))
    answered = honest(client)
    bad = view.fire("echo", {"x": 1})
    after = honest(client)
    with pytest.raises(errors.InvalidArgument, match="on purpose"):
        yield bad
    with pytest.raises(errors.InvalidArgument, match="on purpose"):
        yield view.call("echo", {"x": 1})
    with pytest.raises(errors.InvalidArgument, match="the result does not fit"):
        yield Items(view.stream("count", 3))
    yield from answered()
    yield from after()


@pytest.mark.parametrize("kind", ENDINGS)
@promise
def test_whatever_a_callback_raises_the_next_ones_run(client, logged, kind):
    def raises(_: object) -> None:
        raise kind("in a callback")

    got: list[object] = []
    client.on_state(raises)
    stop = client.listen(raises)
    client.fire("add", 1, 2, callback=raises)
    client.fire("fail", "x", errback=raises)
    client.fire("add", 3, 4, callback=got.append)
    yield from until(lambda: got == [7])
    yield from until(lambda: logged().count("in a callback") >= 5)
    stop()
    yield from honest(client)()


@pytest.mark.parametrize("name", ["Unwritable", "BadNotes", "Undecided", "OfNoName"])
@promise
def test_an_error_that_cannot_be_logged_harms_nothing(client, logged, name):
    kind = RAISED[name]

    def raises(_: object) -> None:
        raise kind("in a callback")

    def items():
        try:
            yield 1
        finally:
            raise kind("in an iterator")

    got: list[object] = []
    client.listen(raises)
    client.fire("add", 1, 2, callback=raises)
    ended: type[BaseException] | None = None
    try:
        yield client.call("sum_of", items())
    except Exception as error:  # which pytest could not show
        ended = type(error)
    assert ended is kind
    client.fire("add", 3, 4, callback=got.append)
    yield from until(lambda: got == [7])
    yield from until(lambda: "raised" in logged())
    yield from honest(client)()


@promise
def test_one_that_listens_no_more_takes_no_other_with_it(client):
    told: list[str] = []

    def listener(event: object) -> None:
        told.append("told")

    stop = client.listen(listener)
    client.listen(listener)
    stop()
    stop()
    client.fire("add", 1, 2)
    yield from until(lambda: told == ["told"])


@pytest.mark.parametrize("kind", ENDINGS)
@pytest.mark.parametrize("wish", ["before", "after"])
@promise
def test_what_an_interceptor_raises_is_the_outcome_of_its_call(client, pair, wish, kind):
    def interceptor(call):
        if call.method == "echo" and wish == "before":
            raise kind("on purpose")
        yield
        if call.method == "echo":
            raise kind("on purpose")

    other = pair.connect(interceptors=[interceptor])
    failed: list[BaseException] = []
    answered = honest(other)
    other.fire("echo", 1, errback=failed.append)
    yield from until(lambda: len(failed) == 1)
    assert isinstance(failed[0], kind)
    yield from answered()
    yield from honest(other)()


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise SystemExit("not to be compared")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("bad", "told"), [(object(), "metadata cannot be sent"), (Incomparable(), "not to be compared")]
)
@promise
def test_metadata_of_an_interceptor_that_cannot_travel_end_its_own_call(client, pair, bad, told):
    def interceptor(call):
        if call.method == "echo":
            call.metadata["bad"] = bad
        yield

    other = pair.connect(interceptors=[interceptor], metadata={"bad": 1})
    failed: list[BaseException] = []
    other.fire("echo", 1, errback=failed.append)
    yield from until(lambda: len(failed) == 1)
    assert told in str(failed[0])
    yield from honest(other)()


@pytest.mark.parametrize("kind", ENDINGS)
@promise
def test_what_an_iterator_raises_ends_the_call_that_it_is_an_argument_of(client, kind):
    def numbers():
        yield 1
        raise kind("on purpose")

    answered = honest(client)
    with pytest.raises(Exception, match="on purpose"):
        yield client.call("sum_of", numbers())
    yield from answered()


@pytest.mark.parametrize("kind", [kind for kind in ENDINGS if kind is not GeneratorExit])
@promise
def test_what_an_iterator_raises_when_it_is_closed_is_logged(client, logged, kind):
    def numbers():
        try:
            yield from range(1000)
        finally:
            raise kind("at its end")

    assert (yield client.call("first_of", numbers(), 2)) == [0, 1]
    yield from until(lambda: "at its end" in logged())
    yield from honest(client)()


# Closing


@promise
def test_closing_now_ends_what_another_close_waits_for(client, pair, key):
    other = pair.connect(timeout=None)
    failed: list[BaseException] = []
    other.fire("hold", key, errback=failed.append)
    yield from until_began(client, key)
    closing = yield Begin(other.close)
    yield other.close(now=True)
    yield closing
    yield from until(lambda: [type(error) for error in failed] == [errors.Cancelled])


@promise_for("asyncio", "gevent", "twisted")
def test_a_close_that_was_called_off_has_ended_nothing_yet(client, pair, key):
    other = pair.connect(timeout=None)
    failed: list[BaseException] = []
    other.fire("hold", key, errback=failed.append)
    yield from until_began(client, key)
    closing = yield Begin(other.close)
    yield from until(lambda: other.state == "closed")
    closing.cancel()
    with pytest.raises(pair.style.cancelled):
        yield closing
    assert failed == []
    yield other.close(now=True)
    yield from until(lambda: [type(error) for error in failed] == [errors.Cancelled])


def until_began(client, key):
    while (yield client.call("marks", key)) != ["began"]:
        pass


# At the end of the caller's stack


def _deep(frames, work):
    return _deep(frames - 1, work) if frames else work()


@pytest.mark.parametrize("how", ["fire", "notify", "stream"])
@promise
def test_a_call_at_the_end_of_the_stack_harms_no_later_one(client, how) -> Any:
    assert (yield client.call("add", 1, 2)) == 3
    refused = 0
    for left in range(1, 60):
        depth, frame = 0, sys._getframe()
        while frame is not None:
            depth, frame = depth + 1, frame.f_back
        arguments = ("count", 3) if how == "stream" else ("add", left, 1)
        try:
            begun = _deep(
                sys.getrecursionlimit() - depth - left, partial(getattr(client, how), *arguments)
            )
        except RecursionError:
            refused += 1
        else:
            if how == "fire":
                assert (yield begun) == left + 1
            elif how == "stream":
                assert (yield Items(begun)) == [0, 1, 2]
        assert (yield client.options(timeout=5).call("add", left, 2)) == left + 2
    assert refused
