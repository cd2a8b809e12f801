"""The credit for items that may be large: how much may be on its way or unread, and that it never
runs dry.
"""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.msgpack import encode
from ringback.protocol.streams import (
    FIRST,
    LEAST,
    WINDOW,
    WINDOW_BYTES,
    Items,
    SlowWindow,
    SyncItems,
    Window,
)
from ringback.protocol.values import Unpacker
from ringback.server.calls.invocations.inputs import AsyncInput
from ringback.server.declare.arguments import Streamed

MIB = 1 << 20
FREE = 256 * MIB


def widths(sizes: list[int], free: int = FREE) -> list[int]:
    """How many items may be on their way or unread, at first and after each of these has come and
    been taken.
    """
    window = Window()
    window.more(free)
    seen = [window.allowed]
    for size in sizes:
        window.arrived(size)
        window.taken(1)
        window.more(free)
        seen.append(window.allowed)
    return seen


def test_a_window_is_small_until_items_have_come_and_then_wide_for_small_ones():
    assert widths([100] * 4) == [FIRST, WINDOW, WINDOW, WINDOW, WINDOW]


def test_a_window_begins_as_wide_as_the_largest_item_known_lets_it():
    begun = []
    for largest in (100, MIB, 16 * MIB):
        window = Window(largest)
        begun.append(window.more(FREE))
    assert begun == [WINDOW, 32, LEAST]


@pytest.mark.parametrize("size", [1, 100_000, MIB, 3 * MIB, 16 * MIB, 100 * MIB])
def test_items_ahead_of_a_reader_are_two_or_within_the_bytes_of_a_window(size):
    width = widths([size] * 100)[-1]
    assert width * size <= max(WINDOW_BYTES, LEAST * size)
    assert width == WINDOW or (width + 1) * size > WINDOW_BYTES


def test_a_large_item_narrows_the_window_for_a_while():
    seen = widths([1] * 10 + [16 * MIB] * 70 + [1] * 10)
    assert min(seen[10:]) == LEAST
    assert seen[10] == seen[-1] == WINDOW


def test_the_less_is_free_for_all_streams_the_less_one_gets():
    assert [widths([MIB] * 100, free)[-1] for free in (FREE, 64 * MIB, 32 * MIB, 0, -MIB)] == [
        32,
        16,
        8,
        LEAST,
        LEAST,
    ]


def slow_widths(sizes: list[int], largest: int = 0) -> list[int]:
    window = SlowWindow(largest)
    window.more()
    seen = [window.allowed]
    for size in sizes:
        if window.arrived(size):
            window.more()
        seen.append(window.allowed + len(window._sizes))
        assert window.bytes == sum(window._sizes)
    return seen


def test_a_slow_window_widens_as_items_come():
    assert slow_widths([1] * 40)[::4] == [FIRST, 8, 16, 16, 32, 32, 32, 32, WINDOW, WINDOW, WINDOW]
    assert slow_widths([1], largest=1) == [WINDOW, WINDOW]


def test_before_a_slow_window_large_items_may_follow_a_small_one():
    seen = slow_widths([1] + [8 * MIB] * 3)
    assert max(seen) == FIRST
    assert slow_widths([1] * 3, largest=2 * MIB)[-1] <= 20


class Taken(Items):
    """The items of one stream, as their reader sees them: what it has taken lies there until the
    protocol hears of it.
    """

    class Gate:
        def open(self) -> None:
            """Nobody waits here."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = self.Gate()
        self.told: deque[int] = deque()

    def grant(self, items: int) -> None:
        self.told.append(items)


class Stream(SyncItems, Taken):
    """A sender of these items, a window and a reader, each of which goes on when it is told to."""

    def __init__(self, sizes: list[int], window: Window) -> None:
        super().__init__()
        self.window = window
        self.coming = deque(sizes)
        self.unread = 0
        self.allow(FREE)

    def allow(self, free: int) -> None:
        self.window.more(free)
        self.batch = self.window.batch

    def send(self, free: int) -> bool:
        if not self.coming or not self.window.allowed:
            return False
        size = self.coming.popleft()
        self.unread += size
        if self.window.arrived(size):
            self.allow(free)
        self.arrived(size)
        return True

    def take(self, free: int) -> bool:
        if not self.items:
            return False
        next(self)
        return True

    def hear(self, free: int) -> bool:
        if not self.told:
            return False
        self.unread -= self.window.taken(self.told.popleft())
        self.allow(free)
        if not self.window.allowed and not self.items:
            self.window.allowed = 1
        return True


sizes = st.lists(
    st.sampled_from([1, 1000, MIB, 4 * MIB, 16 * MIB]) | st.integers(1, 16 * MIB), max_size=300
)
steps = st.lists(
    st.tuples(
        st.sampled_from([Stream.send, Stream.take, Stream.hear]),
        st.integers(1, 70),
        st.sampled_from([FREE, 40 * MIB, 32 * MIB, 8 * MIB, 0]),
    ),
    max_size=60,
)


SEND, TAKE, HEAR = Stream.send, Stream.take, Stream.hear


# The window becomes narrower when all has been taken, and less than a part of it was told.
AT_EASE = [(SEND, 1, 40 * MIB), (TAKE, 1, 40 * MIB), (HEAR, 1, 40 * MIB)] * 4
IN_NEED = [(SEND, 70, 40 * MIB), (TAKE, 70, 40 * MIB), (HEAR, 70, 8 * MIB)]


@example(sizes=[1] * 63 + [900_000] + [1] * 10, steps=[*AT_EASE, (HEAR, 70, 40 * MIB), *IN_NEED])
@settings(deadline=None, max_examples=200)
@given(sizes=sizes, steps=steps)
@pytest.mark.parametrize("kind", [Window, SlowWindow])
def test_credit_never_runs_dry_whatever_the_sizes_and_who_goes_first(kind, sizes, steps):
    stream = Stream(sizes, kind())
    for step, times, free in steps:
        for _ in range(times):
            step(stream, free)
    while stream.send(0) or stream.take(0) or stream.hear(0):
        pass
    assert not stream.coming
    assert not stream.items
    assert stream.unread == sum(stream.window._sizes)


@settings(deadline=None, max_examples=100)
@given(st.randoms(use_true_random=False))
def test_an_upload_never_stalls_whatever_room_there_is_when_its_handler_is_heard(chance):
    """The server's own input, whose handler takes what there is, while what is free for it comes
    and goes.
    """
    told: deque[tuple[Any, tuple[Any, ...]]] = deque()
    credit = 0

    def give(_: Any, items: int) -> None:
        nonlocal credit
        credit += items

    host: Any = SimpleNamespace(
        room=FREE,
        post=lambda function, *args: told.append((function, args)),
        send_credit=give,
        charge=lambda *_: None,
        refund=lambda *_: None,
        loop=SimpleNamespace(native_gate=Taken.Gate),
    )
    method = SimpleNamespace(name="m", native=True)
    call: Any = SimpleNamespace(
        served=SimpleNamespace(method=method, statistics=SimpleNamespace(largest_item=0))
    )
    call.input = AsyncInput(Unpacker(), Streamed("x", Any))
    call.input.bind(call, host)
    item = Raw(encode(bytes(chance.choice([1, 3, 5, 8]) * 50_000)))
    for _ in range(300):
        match chance.choice("saarh"):
            case "s":
                for _ in range(chance.randint(0, credit)):
                    credit -= 1
                    call.input.receive(item)
            case "a":
                while call.input.items:
                    call.input._take()
            case "r":
                host.room = chance.choice([4000, 1000, 100, 1]) * 10_000
            case "h":
                for _ in range(len(told)):
                    function, args = told.popleft()
                    function(*args)
        assert told or credit or call.input.items
