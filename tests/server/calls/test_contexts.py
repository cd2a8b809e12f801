"""Each call has a context of its own: what its handler or an interceptor sets, it sees wherever it
runs, and no other call does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import ringback
from processes import SOON, TESTS
from ringback.server.calls.posted import Posted
from ringback.testing import serving

FAULTY = TESTS / "faulty.py"

KINDS = ["be", "be_inline", "be_async", "be_in_thread", "be_in_stream", "be_in_async_stream"]
ASKED = ["now", "now_inline", "now_async", "now_in_thread"]

NOTHING_SET = ["nobody", 28]


@pytest.fixture
def client(running_server, connected, backend):
    return connected(running_server(backend, "service", FAULTY).endpoint)


@pytest.fixture
def intercepted(running_server, connected, backend):
    return connected(running_server(backend, "intercepted", FAULTY).endpoint)


def be(client, method, name, precision):
    """What a call sees that has set this."""
    if "stream" in method:
        seen, later = client.stream(method, name, precision)
        assert later == seen  # between the items it keeps what it has set
        return seen
    return client.call(method, name, precision)


def test_what_a_handler_sets_is_seen_by_its_call_alone(client, backend):
    kinds = [*KINDS, "be_native"] + (["be_deferred"] if backend == "twisted" else [])
    for kind in kinds:
        for number in range(3):
            assert be(client, kind, f"user {number}", 5 + number) == [f"user {number}", 5 + number]
        for asked in ASKED:
            for _ in range(5):  # in whatever worker it was set
                assert client.call(asked) == NOTHING_SET, f"{asked} after {kind}"


def test_calls_at_once_see_what_each_has_set(client):
    fired = [
        (client.fire(kind, f"user {number}", number + 1), number)
        for number in range(200)
        for kind in KINDS
        if "stream" not in kind
    ]
    for future, number in fired:
        assert future.result(10) == [f"user {number}", number + 1]


def test_a_context_that_an_inline_handler_keeps_tells_of_its_own_call(client):
    named = client.options(metadata={"name": "ada"}, timeout=60)
    untimed = client.options(timeout=None)
    fired, expected = [], []
    for number in range(40):  # in few batches
        for asking, name, timed in [(named, "ada", True), (untimed, None, False)]:
            method = "keep_inline" if number % 3 else "keep_inline_too"
            fired.append(asking.fire(method, number))
            expected.append([method, name, timed])
    for future in fired:
        assert future.result(10) is None
    assert client.call("kept_contexts") == expected


@pytest.mark.parametrize("asked", ASKED)
def test_what_an_interceptor_sets_is_seen_by_the_handler_of_its_call_alone(intercepted, asked):
    for number in range(10):
        named = intercepted.options(metadata={"name": f"user {number}"})
        assert named.call(asked) == [f"user {number}", 28]
        assert intercepted.call(asked) == NOTHING_SET


def test_what_an_interceptor_sets_is_seen_by_a_stream(intercepted):
    assert list(intercepted.options(metadata={"name": "ada"}).stream("now_in_stream")) == [
        ["ada", 28]
    ]
    assert list(intercepted.stream("now_in_stream")) == [NOTHING_SET]


def test_what_an_interceptor_of_a_client_sets_is_not_seen_by_its_caller(client, connected):
    from faulty import who

    seen = []

    def naming(call):
        who.set("the client's")
        yield
        seen.append(who.get())

    other = connected(client._shared.endpoints[0], interceptors=[naming])
    assert other.call("add", 1, 2) == 3
    assert seen == ["the client's"]  # on its way out it has what it has set
    assert who.get() == "nobody"


def test_a_duplicate_call_has_left_its_context_when_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where its worker rests after it has said so, another worker may look again before it goes on."""
    service, first, tried = ringback.Service("once"), threading.Event(), threading.Event()

    @service.method(once=True)
    def pay() -> str:
        first.set()
        assert tried.wait(SOON)
        return "paid"

    post = Posted.post

    def watched(self: Posted, function: Callable[..., object], *args: Any) -> None:
        if function.__name__ == "postpone":
            args[0].own_context.run(
                lambda: None
            )  # which raises RuntimeError where it is still entered
            tried.set()
        post(self, function, *args)

    monkeypatch.setattr(Posted, "post", watched)
    with serving(service, state="memory://") as client:
        keyed = client.options(idempotency_key="a")
        running = keyed.fire("pay")
        assert first.wait(SOON)
        assert keyed.call("pay") == running.result(SOON) == "paid"
