"""Streams: items in order, errors after the items before them, generators that are closed when they
are left.
"""

from __future__ import annotations

import pytest
from promises import Pair, eventually, promise, until
from ringback import errors
from styles import Items, Pause, Script


@promise
def test_a_thousand_items_of_a_generator_arrive_in_order(client) -> Script:
    for method in ("count", "count_inline"):
        assert (yield Items(client.stream(method, 1000))) == list(range(1000))


@promise
def test_a_thousand_items_of_an_async_generator_arrive_in_order(client) -> Script:
    assert (yield Items(client.stream("count_async", 1000))) == list(range(1000))


@promise
def test_a_stream_may_be_empty(client) -> Script:
    for method in ("count", "count_async", "count_inline"):
        assert (yield Items(client.stream(method, 0))) == []


@promise
def test_streams_and_calls_go_on_side_by_side(client) -> Script:
    first, second = client.stream("count", 300), client.stream("count_async", 300)
    assert (yield client.call("add", 1, 2)) == 3
    assert (yield Items(second)) == list(range(300))
    assert (yield Items(first)) == list(range(300))


@promise
def test_an_error_in_the_middle_arrives_after_the_items_before_it(client) -> Script:
    for method in ("breaks", "breaks_async"):
        for number in (0, 3, 200):
            seen: list[int] = []
            with pytest.raises(errors.RemoteError, match="the stream broke") as caught:
                yield Items(client.stream(method, number), seen=seen)
            assert caught.value.type == "LookupError"
            assert seen == list(range(number))


@promise
def test_an_item_that_cannot_be_sent_ends_the_stream_with_an_error(client) -> Script:
    seen: list[int] = []
    with pytest.raises(errors.RemoteError, match="cannot be sent"):
        yield Items(client.stream("unserialisable_item"), seen=seen)
    assert seen == [1]


@promise
def test_leaving_a_stream_early_closes_the_generator_at_the_server(client, key: str) -> Script:
    assert (yield Items(client.stream("endless", key), limit=100)) == list(range(100))
    yield from eventually(lambda: client.call("marks", key), ["closed"])


@promise
def test_leaving_a_stream_early_closes_the_async_generator_at_the_server(
    client, key: str
) -> Script:
    assert (yield Items(client.stream("endless_async", key), limit=100)) == list(range(100))
    yield from eventually(lambda: client.call("marks", key), ["closed"])


@promise
def test_closing_the_client_ends_its_streams_here_and_there(client, pair: Pair, key: str) -> Script:
    other = pair.connect()
    stream = other.stream("endless", key)
    yield Items(_Peek(stream), limit=3)
    yield other.close(now=True)
    with pytest.raises(errors.Cancelled):
        yield Items(stream)
    yield from eventually(lambda: client.call("marks", key), ["closed"])


@promise
def test_a_slow_reader_does_not_get_ahead_of_itself(client) -> Script:
    "The server stops at the credit, and other calls are answered meanwhile."
    stream = client.stream("count", 100_000)
    seen: list[int] = []
    yield Items(_Peek(stream), limit=10, seen=seen)
    assert (yield client.call("add", 1, 2)) == 3
    assert len(stream.items) <= 64
    yield Items(stream, limit=5, seen=seen[:0])


MIB = 1024 * 1024


@promise
def test_large_items_that_nobody_reads_take_a_bounded_number_of_bytes(client) -> Script:
    stream = client.stream("sized", [MIB] * 100)
    seen: list[bytes] = []
    yield Items(_Peek(stream), limit=1, seen=seen)
    for _ in range(20):  # the server sends as much as it may
        assert (yield client.call("nap", 0.02)) == 0.02
        assert sum(map(len, stream.items)) <= 32 * MIB
    assert len(stream.items) > 16
    yield Items(stream, seen=seen)
    assert [len(item) for item in seen] == [MIB] * 100


@promise
def test_of_items_of_unknown_size_few_are_asked_for(client) -> Script:
    stream = client.stream("sized", [12 * MIB] * 8)
    most = 0
    for _ in range(20):
        assert (yield client.call("nap", 0.02)) == 0.02
        most = max(most, sum(map(len, stream.items)))
    assert most <= 48 * MIB
    assert [len(item) for item in (yield Items(stream))] == [12 * MIB] * 8
    again = client.stream("sized", [12 * MIB] * 8)  # now it is known
    for _ in range(20):
        assert (yield client.call("nap", 0.02)) == 0.02
        assert sum(map(len, again.items)) <= 32 * MIB
    assert len((yield Items(again))) == 8


@promise
def test_small_items_are_as_many_as_ever(client) -> Script:
    for _ in range(2):
        stream = client.stream("sized", [100] * 1000)
        yield Items(_Peek(stream), limit=1)
        yield from until_asleep(client, stream)
        assert 60 < len(stream.items) <= 64
        assert len((yield Items(stream))) == 999


def until_asleep(client, stream) -> Script:
    """The server has sent what it may."""
    seen = -1
    while seen != len(stream.items):
        seen = len(stream.items)
        yield from driven(client, 0.2)


def driven(client, seconds: float) -> Script:
    """A blocking client reads while it calls.

    (The server refuses the call while too many of its answers wait to be read.)
    """
    try:
        yield client.call("nap", seconds)
    except errors.ResourceExhausted:
        yield Pause(seconds)


@promise
def test_large_items_on_the_credit_for_small_ones_end_the_call_at_a_bound(client) -> Script:
    assert len((yield Items(client.stream("sized", [1] * 100)))) == 100
    # (no more of them than the server's pipe takes: beyond that it would cut off a client that is
    # slow to read)
    stream = client.stream("sized", [1] + [2 * MIB] * 40)
    seen: list[bytes] = []
    for _ in range(30):
        yield from driven(client, 0.02)
        assert sum(map(len, stream.items)) <= 64 * MIB
    with pytest.raises(errors.ResourceExhausted, match="sized: its unread items take more than"):
        yield Items(stream, seen=seen)
    assert [len(item) for item in seen[:2]] == [1, 2 * MIB]
    slow = client.stream("sized", [1] + [2 * MIB] * 80)  # now their size is known
    yield from until_asleep(client, slow)
    assert len((yield Items(slow))) == 81


@promise
def test_stream_on_a_plain_method_is_a_failed_precondition(client) -> Script:
    for method in ("echo.worker", "echo", "echo_async"):
        with pytest.raises(errors.FailedPrecondition, match=f"{method}.*stream"):
            yield Items(client.stream(method, 3))


@promise
def test_a_wrong_argument_of_a_stream_is_refused(client) -> Script:
    with pytest.raises(errors.InvalidArgument, match=r"count.*'n'"):
        yield Items(client.stream("count", "three"))


@promise
def test_items_arrive_typed_where_asked(client) -> Script:
    facts = yield Items(client.options(metadata={"who": "me"}).stream("facts_stream"))
    assert facts[0]["metadata"] == {"who": "me"}
    assert facts[0]["method"] == "facts_stream"
    with pytest.raises(errors.CallError):
        yield Items(client.options(returns=int).stream("facts_stream"))


@promise
def test_a_stream_left_before_its_first_item_is_closed(client, key: str) -> Script:
    stream = client.stream("endless_async", key)
    closing = stream.close() if hasattr(stream, "close") else stream.aclose()
    yield closing
    yield from eventually(lambda: client.call("add", 1, 2), 3)
    yield from until(lambda: not client._shared.core.machine.calls)


class _Peek:
    """A stream that is not left when reading it ends early."""

    def __init__(self, stream) -> None:
        self._stream = stream

    def __enter__(self):
        return self._stream

    def __exit__(self, *exc: object) -> None: ...

    async def __aenter__(self):
        return self._stream

    async def __aexit__(self, *exc: object) -> None: ...
