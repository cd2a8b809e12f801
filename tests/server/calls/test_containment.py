"""One fault ends one call: whatever a service's own code or a peer's bytes raise, on each backend,
all other calls are answered.

Each bad call travels in one batch among honest ones, so that all are dealt with in one turn of the
loop.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from faulty import RAISED
from msgspec import Raw
from processes import TESTS, ServerProcess
from raw import Dealer, args, value
from ringback.protocol.messages import (
    Call,
    CallOptions,
    Cancel,
    Credit,
    End,
    Error,
    Item,
    Refusal,
    Reply,
)
from ringback.protocol.values import STREAM

FAULTY = TESTS / "faulty.py"

# Extension -1 is a time, of 4, 8 or 12 bytes; this one has 3.
BAD_TIME = Raw(bytes.fromhex("c703ff010203"))

plain = msgspec.msgpack.Decoder().decode


class Peers:
    """One that sends a bad call among honest ones, and one that sends honest ones alone."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._bad, self._honest = Dealer(server.endpoint), Dealer(server.endpoint)
        self._numbers = itertools.count(1)

    def outcome(self, method: str, *values: Any, **more: Any) -> Any:
        """The last message of a bad call."""
        return self.last_of(lambda number: [Call(number, method, args(*values), **more)])

    def last_of(self, make: Callable[[int], list[Any]]) -> Any:
        """The last message of a bad call, whose messages are made for its id. Honest calls before,
        beside and after it must have
        their answers."""
        before = self._sums(2)
        number = next(self._numbers)
        return self._last_of(number, make(number), before)

    def last_of_items(self, method: str, *items: Any) -> Any:
        """The last message of a call whose argument streams: it has begun when the items come."""
        number = next(self._numbers)
        self._bad.say(Call(number, method, args(STREAM)))
        while not any(isinstance(message, Credit) for message in self._bad.hear()):
            pass
        messages = [*(Item(number, value(item)) for item in items), End(number)]
        return self._last_of(number, messages, self._sums(2))

    def _last_of(self, number: int, messages: list[Any], before: list[Call]) -> Any:
        after, beside = self._sums(2), self._sums(2)
        self._bad.say(*before, *messages, *after)
        self._honest.say(*beside)
        answers = self._heard(self._bad, {number, *(call.id for call in before + after)})
        answers |= self._heard(self._honest, {call.id for call in beside})
        for call in before + beside + after:
            answer = answers[call.id]
            assert isinstance(answer, Reply), answer
            assert plain(answer.result) == call.id + 1
        return answers[number]

    def _sums(self, number: int) -> list[Call]:
        ids = [next(self._numbers) for _ in range(number)]
        return [Call(id_, "add_inline" if id_ % 2 else "add", args(id_, 1)) for id_ in ids]

    @staticmethod
    def _heard(peer: Dealer, wanted: set[int]) -> dict[int, Any]:
        """The last message of each of these calls: there is one, within the time that a Dealer
        waits.
        """
        answers: dict[int, Any] = {}
        while not wanted <= answers.keys():
            batch = peer.hear()
            assert batch, f"no answer to {wanted - answers.keys()}"
            for message in batch:
                if isinstance(message, (Reply, Error, Refusal, End)):
                    assert message.id not in answers
                    answers[message.id] = message
        return answers

    def close(self) -> None:
        for peer in (self._bad, self._honest):
            peer.__exit__()


@pytest.fixture
def peers(
    running_server: Callable[..., ServerProcess], backend: str, request: pytest.FixtureRequest
) -> Iterator[Peers]:
    made = Peers(running_server(backend, getattr(request, "param", "service"), FAULTY))
    yield made
    made.close()


# Arguments


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("method", ["takes", "takes_inline", "takes_async", "takes_and_streams"])
def test_what_an_argument_raises_is_what_is_wrong_with_it(peers, method, kind):
    credit = 1 if method == "takes_and_streams" else 0
    outcome = peers.outcome(method, {"kind": kind}, credit=credit)
    assert isinstance(outcome, Refusal)
    assert outcome.code == "INVALID_ARGUMENT"
    assert outcome.message.startswith(f"{method}: argument 'value")


def test_what_a_named_argument_raises_is_what_is_wrong_with_it(peers):
    named = {"more": value({"kind": "SystemExit"})}
    outcome = peers.last_of(lambda number: [Call(number, "takes_async", args(), named)])
    assert (outcome.code, outcome.message) == (
        "INVALID_ARGUMENT",
        "takes_async: argument 'named': SystemExit: on purpose",
    )


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("takes_lazy", {}),
        ("takes_keys", {"kind": 1}),
        ("takes_unknown", 1),
        ("takes_anything", BAD_TIME),
        ("takes_anything", [BAD_TIME]),
        ("takes_inline", BAD_TIME),
        ("add", BAD_TIME),
    ],
)
def test_whatever_reads_an_argument_may_raise(peers, method, given):
    outcome = peers.outcome(method, given)
    assert isinstance(outcome, Refusal)
    assert outcome.code == "INVALID_ARGUMENT"
    assert outcome.message.startswith(method)


def test_a_value_that_cannot_be_read_is_refused_by_name_too(peers):
    outcome = peers.last_of(
        lambda number: [Call(number, "takes_anything", args(1), {"other": BAD_TIME})]
    )
    assert outcome.message.startswith("takes_anything: argument 'other'")


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("method", ["takes_items", "takes_items_async"])
def test_what_an_item_raises_ends_its_call_and_none_is_left_out(peers, method, kind):
    outcome = peers.last_of_items(method, *({"kind": what} for what in ("", kind, "")))
    assert isinstance(outcome, Error)
    assert outcome.code == "INVALID_ARGUMENT"
    assert outcome.message.startswith(f"{method}: item 2 of argument 'values'")


@pytest.mark.parametrize("method", ["takes_items", "takes_items_async"])
def test_a_stream_may_end_in_the_batch_that_its_call_comes_in(peers, method):
    outcome = peers.last_of(lambda number: [Call(number, method, args(STREAM)), End(number)])
    assert isinstance(outcome, Reply), outcome
    assert plain(outcome.result) == 0


@pytest.mark.parametrize(("deep", "size"), [(100, 400_000), (700, 1)])
def test_deep_arguments_of_what_is_kept_harm_no_other_call(peers, deep, size):
    given: Any = {"b": "x" * size, "a": 1}
    for _ in range(deep):
        given = [given]
    before = time.monotonic()
    for _ in range(8):
        assert isinstance(peers.outcome("kept", given), (Reply, Refusal))
    assert time.monotonic() - before < 4.0
    stats = plain(peers.outcome("ringback.stats").result)
    assert stats["in_flight"] < 8  # the honest ones beside it


def test_a_future_that_is_done_at_once_gives_its_place_to_the_next(peers):
    for _ in range(3):
        assert plain(peers.outcome("gives_done_future").result) == "done"


# Handlers, and what comes of them


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize(
    "method",
    ["raises", "raises_inline", "raises_async", "raises_in_stream", "raises_in_async_stream"],
)
def test_whatever_a_handler_raises_is_the_outcome_of_its_call(peers, method, kind):
    outcome = peers.outcome(method, kind, credit=9 if "stream" in method else 0)
    assert isinstance(outcome, Error)
    if kind == "PermissionDenied":
        assert (outcome.code, outcome.message) == ("PERMISSION_DENIED", "on purpose")
    elif kind != "GeneratorExit":
        assert outcome.code == "UNKNOWN"
        # (neither a generator nor a coroutine can raise StopIteration)
        plain_function = method in ("raises", "raises_inline")
        told = kind if plain_function or kind != "StopIteration" else "RuntimeError"
        assert outcome.kind == (told if kind != "BadText" else "")  # which is ringback's own


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize(
    "method", ["gives", "gives_inline", "gives_itself_inline", "gives_async", "gives_items"]
)
def test_whatever_a_result_raises_is_the_outcome_of_its_call(peers, method, kind):
    outcome = peers.outcome(method, kind, credit=9 if method == "gives_items" else 0)
    assert isinstance(outcome, Error)
    if method == "gives_itself_inline":  # it raises when it is asked whether it is a future
        assert outcome.kind in (kind, "")
    else:
        assert f"the result of {method} cannot be sent" in outcome.message


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x92\x01", b"\x01\x02"])
@pytest.mark.parametrize("method", ["gives_packed", "gives_packed_inline"])
def test_a_result_that_says_it_is_packed_and_is_not_ends_its_own_call(peers, method, packed):
    outcome = peers.outcome(method, packed)
    assert isinstance(outcome, Error)
    assert f"the result of {method} cannot be sent" in outcome.message


@pytest.mark.parametrize("method", ["gives_future", "gives_future_inline"])
def test_a_future_that_raises_is_the_outcome_of_its_call(peers, method):
    outcome = peers.outcome(method, "")
    assert (outcome.code, outcome.kind, outcome.message) == ("UNKNOWN", "SystemExit", "on purpose")


@pytest.mark.parametrize(
    ("method", "advice"),
    [("gives_coroutine", "`async def`"), ("gives_generator", "generator function")],
)
def test_what_another_kind_of_handler_gives_is_told_so(peers, method, advice):
    assert advice in peers.outcome(method, "ValueError").message


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("method", ["cached", "cached_inline"])
def test_whatever_the_tags_of_a_cache_raise_is_the_outcome_of_its_call(peers, method, kind):
    outcome = peers.outcome(method, kind)
    assert isinstance(outcome, Error)
    assert outcome.code == ("PERMISSION_DENIED" if kind == "PermissionDenied" else "UNKNOWN")


def test_a_message_that_cannot_be_encoded_takes_no_other_with_it(peers):
    outcome = peers.outcome("spoils_its_batch")
    assert isinstance(outcome, Reply)
    assert plain(outcome.result) == "answered"
    assert peers.server.logged("Reply cannot be sent to")


def test_what_goes_wrong_when_a_call_is_cancelled_harms_no_other(peers, backend):
    if backend != "twisted":
        pytest.skip("a Deferred is Twisted's")
    sent = []

    def messages(number: int) -> list[Any]:
        sent.append(number)
        return [Call(number, "cancelled_badly", args())]

    with pytest.raises(AssertionError, match="no answer"):
        peers.last_of(messages)
    assert isinstance(
        peers.last_of(lambda number: [Cancel(sent[0]), Call(number, "raises", args("KeyError"))]),
        Error,
    )
    assert peers.server.logged("cancelled_badly raised when it was cancelled")


# What peers say


@pytest.mark.parametrize("timeout", [0, -1, -(1 << 63)])
@pytest.mark.parametrize("method", ["add", "add_inline"])
def test_a_call_whose_time_was_over_before_it_came_does_not_run(peers, method, timeout):
    outcome = peers.outcome(method, 1, 2, timeout=timeout)
    assert isinstance(outcome, Refusal)
    assert (outcome.code, outcome.started) == ("DEADLINE_EXCEEDED", False)


@pytest.mark.parametrize(
    "more",
    [
        {"timeout": (1 << 64) - 1},
        {"options": CallOptions(priority=-(1 << 63))},
        {"options": CallOptions(metadata={"": None}, key="x" * 300, versions={"": (1 << 64) - 1})},
    ],
)
@pytest.mark.parametrize("method", ["add", "add_inline"])
def test_options_may_have_any_size(peers, method, more):
    outcome = peers.outcome(method, 1, 2, **more)
    assert isinstance(outcome, Reply), outcome


def test_messages_for_calls_that_are_not_there_harm_none(peers):
    strange = [Credit(1 << 60, 1 << 60), Item(1 << 60, BAD_TIME), End(1 << 60), Cancel(1 << 60)]
    outcome = peers.last_of(lambda number: [*strange, Call(number, "add", args(1, 2)), *strange])
    assert isinstance(outcome, Reply)


# Interceptors


@pytest.mark.parametrize("peers", ["intercepted"], indirect=True)
@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("wish", ["before", "after"])
@pytest.mark.parametrize("method", ["add", "add_inline"])
def test_whatever_an_interceptor_raises_is_the_outcome_of_its_call(peers, method, wish, kind):
    outcome = peers.outcome(method, 1, 2, options=CallOptions({"wish": wish, "kind": kind}))
    assert isinstance(outcome, Error)
    assert outcome.code == ("PERMISSION_DENIED" if kind == "PermissionDenied" else "UNKNOWN")


@pytest.mark.parametrize("peers", ["intercepted"], indirect=True)
@pytest.mark.parametrize("wish", ["again", "stays"])
@pytest.mark.parametrize("method", ["add", "add_inline"])
def test_an_interceptor_that_does_not_end_is_the_outcome_of_its_call(peers, method, wish):
    outcome = peers.outcome(method, 1, 2, options=CallOptions({"wish": wish}))
    assert (outcome.code, outcome.kind) == ("UNKNOWN", "RuntimeError")
