"""Fire-and-callback: futures, callbacks, errbacks, listeners."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextvars import Context, ContextVar

import pytest
from promises import Pair, promise, until
from ringback import errors
from styles import Script


@promise
def test_fire_returns_the_future_of_its_loop_at_once(client, pair: Pair, key) -> Script:
    future = client.fire("counted", key, gated=True)
    assert isinstance(future, pair.style.future)
    yield client.call("open_gate", key)  # which the call fired waits for
    assert (yield future) == [1, None]


@promise
def test_the_callback_gets_the_result_once_and_the_future_resolves(client) -> Script:
    got: list[object] = []
    assert (yield client.fire("add", 1, 2, callback=got.append, errback=got.append)) == 3
    yield from until(lambda: bool(got))
    yield client.call("add", 1, 2)
    assert got == [3]


@promise
def test_the_errback_gets_the_error_once(client) -> Script:
    got: list[BaseException] = []
    for method in ("fail", "fail_inline", "fail_async", "no_such_method"):
        client.fire(method, "it failed", callback=got.append, errback=got.append)
    client.fire("echo", object(), callback=got.append, errback=got.append)
    yield from until(lambda: len(got) >= 5)
    yield client.call("add", 1, 2)
    assert sorted(type(error).__name__ for error in got) == [
        "InvalidArgument",
        "MethodNotFound",
        "RemoteError",
        "RemoteError",
        "RemoteError",
    ]


@promise
def test_the_future_of_a_failed_call_raises_its_error(client) -> Script:
    with pytest.raises(errors.RemoteError, match="it failed"):
        yield client.fire("fail", "it failed")


@promise
def test_a_callback_that_raises_is_logged_with_its_method_and_harms_nothing(
    client, logged: Callable[[], str]
) -> Script:
    def raises(result: object) -> None:
        raise ZeroDivisionError("in the callback")

    assert (yield client.fire("add", 1, 2, callback=raises)) == 3
    client.fire("fail", "x", errback=raises)
    yield from until(lambda: logged().count("ZeroDivisionError: in the callback") == 2)
    assert "ringback.client" in logged()
    assert "a callback for add raised" in logged()
    got: list[object] = []
    client.fire("add", 2, 2, callback=got.append)
    yield from until(lambda: got == [4])


@promise
def test_callbacks_run_in_the_order_of_the_replies(client) -> Script:
    got: list[object] = []
    client.fire("nap", 0.5, callback=got.append)
    client.fire("nap", 0.0, callback=got.append)
    for number in range(100):
        client.fire("echo", number, callback=got.append)
    yield from until(lambda: len(got) == 102)
    assert got[-1] == 0.5
    assert [value for value in got if isinstance(value, int)] == list(range(100))


@promise
def test_callbacks_run_one_at_a_time(client, pair: Pair) -> Script:
    inside: list[int] = []
    most: list[int] = []

    def callback(result: object) -> None:
        inside.append(1)
        most.append(len(inside))
        if pair.style.name == "threading":
            time.sleep(0.002)
        inside.pop()

    for number in range(50):
        client.fire(("add", "add_inline")[number % 2], number, 1, callback=callback)
    yield from until(lambda: len(most) == 50)
    assert max(most) == 1


@promise
def test_a_callback_may_call_the_client(client, pair: Pair) -> Script:
    got: list[object] = []

    def first(result: int) -> None:
        if pair.style.blocking:
            got.append(client.call("add", result, 10))
        client.fire("add", result, 100, callback=got.append)

    client.fire("add", 1, 2, callback=first)
    expected = [13, 103] if pair.style.blocking else [103]
    yield from until(lambda: got == expected)


@promise
def test_a_lost_error_is_logged(client, logged: Callable[[], str]) -> Script:
    import gc

    client.fire("fail", "nobody looks at this")
    yield client.call("add", 1, 2)

    def seen() -> bool:
        # (one of another test that is found in the same tenth of a second is named, and counts this
        # one)
        gc.collect()
        return "nobody looks at this" in logged() or (
            "unhandled error of a fired call" in logged() and " more)" in logged()
        )

    yield from until(seen)


@promise
def test_many_lost_errors_are_a_few_lines_that_count_them_all(
    client, logged: Callable[[], str]
) -> Script:
    import gc

    lost = 3000
    before = _told(logged())
    begin = time.monotonic()
    for number in range(lost):
        if number % 500 == 0:
            yield client.ready()
        client.fire("no_such_method", "nobody looks")
    yield from until(lambda: not client._shared.core.machine.calls)

    def all_told() -> bool:
        gc.collect()
        return sum(_told(logged())) - sum(before) == lost

    yield from until(all_told)
    lines = len(_told(logged())) - len(before)
    assert lines <= 2 + 10 * (time.monotonic() - begin)
    assert sum("no_such_method" in line for line in logged().splitlines()) == lines + len(before)


def _told(log: str) -> list[int]:
    """How many errors each line of the log tells of."""
    lines = [
        line
        for line in log.splitlines()
        if "unhandled error of a fired call: no_such_method" in line
    ]
    more = [re.search(r"\(and ([\d,]+) more\)", line) for line in lines]
    return [1 + int(each[1].replace(",", "")) if each else 1 for each in more]


@promise
def test_a_listener_hears_every_fired_call_until_it_unsubscribes(client) -> Script:
    events = []
    unsubscribe = client.listen(events.append)
    client.fire("echo", "one", callback=lambda _: None)
    client.fire("fail_inline", "two", errback=lambda _: None)
    yield from until(lambda: len(events) == 2)
    by_method = {event.method: event for event in events}
    assert by_method["echo"].result == "one"
    assert by_method["echo"].error is None
    assert isinstance(by_method["fail_inline"].error, errors.RemoteError)
    yield client.call("echo", "a call is not an event")
    unsubscribe()
    got: list[object] = []
    client.fire("echo", "three", callback=got.append)
    yield from until(lambda: got == ["three"])
    unsubscribe()
    assert len(events) == 2


@promise
def test_a_listener_of_one_method_hears_that_method_only(client) -> Script:
    adds, all_ = [], []
    client.listen(adds.append, "add")
    client.listen(all_.append)
    client.fire("echo", "one")
    client.fire("add", 1, 2)
    yield from until(lambda: len(all_) == 2)
    assert [(event.method, event.result) for event in adds] == [("add", 3)]


@promise
def test_a_listener_that_raises_does_not_keep_the_others_from_hearing(
    client, logged: Callable[[], str]
) -> Script:
    events = []

    def raises(event: object) -> None:
        raise ZeroDivisionError("in the listener")

    client.listen(raises)
    client.listen(events.append)
    assert (yield client.fire("add", 1, 2)) == 3
    yield from until(lambda: len(events) == 1 and "in the listener" in logged())


@promise
def test_misuse_of_fire_is_raised_by_fire(client) -> Script:
    with pytest.raises(TypeError):
        client.fire()
    with pytest.raises(TypeError):
        client.options(no_such_option=1)
    assert (yield client.call("add", 1, 2)) == 3


@promise
def test_a_callback_sees_the_variables_of_its_own_call(client) -> Script:
    user = ContextVar("user", default="nobody")
    seen = []

    def told(name: str, expected: str) -> Callable[[object], None]:
        def callback(_: object) -> None:
            seen.append((name, expected, user.get()))
            user.set("somebody else")

        return callback

    def begin(name: str) -> list[object]:
        if name != "nobody":
            user.set(name)
        stop = client.listen(told("listener", name), "add_inline")
        futures = [
            client.fire("add", 1, 2, callback=told("callback", name)),
            client.fire("add", 1, "two", errback=told("errback", name)),
            client.options(timeout=0.05).fire("nap", 30, errback=told("late", name)),
            client.fire("add_inline", 1, 2),
        ]
        if name != "nobody":
            user.set("changed")
        return [stop, *futures]

    begun = [Context().run(begin, name) for name in ("ada", "nobody", "bob", "nobody")]
    yield from until(lambda: len(seen) == 4 * 3 + 4 * 4)
    for stop, *futures in begun:
        stop()
        for future in futures:
            try:
                yield future
            except errors.CallError:
                pass
    assert [(name, saw) for name, expected, saw in seen if saw != expected] == []
