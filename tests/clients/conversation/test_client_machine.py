"""The client's end of the conversation, one rule at a time."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec
import pytest
from exchange import LIMIT, WELCOME, Asked, Client, Sending, call, heard_from_server, raw
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback import errors
from ringback.clients.conversation.links import LinkState
from ringback.clients.conversation.machine import TICK
from ringback.clients.conversation.receiving import UNASKED
from ringback.protocol import codec
from ringback.protocol.messages import (
    About,
    Bye,
    Call,
    Cancel,
    Credit,
    Drain,
    Drained,
    End,
    Error,
    Fault,
    Hello,
    Item,
    MethodFlags,
    Notify,
    Ping,
    Pong,
    Reached,
    Refusal,
    Reply,
    Welcome,
)
from ringback.protocol.values import NOTHING, pack


def calls(messages: list[Any]) -> list[int]:
    return [message.id for message in messages if isinstance(message, Call)]


def refused(asked: Asked, *, started: bool | None = False, code: str = "UNAVAILABLE") -> Refusal:
    return Refusal(asked.id, code, "not now", started)


# Hello


def test_hello_is_the_first_message_on_a_link():
    client = Client(open=False)
    client.start(call())
    client.machine.link_up(client.link)
    assert [type(message) for message in client.sent()] == [Hello]


def test_hello_is_said_again_on_every_connection():
    client = Client()
    client.machine.link_lost(client.link, "gone", 0.0)
    client.machine.link_up(client.link)
    assert [type(message) for message in client.sent()] == [Hello]


def test_the_welcome_opens_the_link():
    client = Client(open=False)
    client.machine.link_up(client.link)
    client.hear(WELCOME)
    assert (client.link.state, client.link.service, client.link.methods) == (
        LinkState.OPEN,
        WELCOME.service,
        WELCOME.methods,
    )


def test_a_welcome_that_nobody_asked_for_changes_nothing():
    client = Client(open=False)
    client.hear(WELCOME)
    assert client.link.state is LinkState.CONNECTING


# Where calls go


def test_a_call_waits_for_a_link():
    client = Client(open=False)
    asked = client.start(call())
    assert (asked.link, client.sent(), list(client.machine.table.waiting.values())) == (
        None,
        [],
        [asked],
    )


def test_the_welcome_sends_the_waiting_calls_in_order():
    client = Client(open=False)
    asked = [client.start(call()) for _ in range(3)]
    client.open()
    assert calls(client.sent()) == [one.id for one in asked]


def test_a_call_that_waited_is_sent_with_the_time_it_has_left():
    client = Client(open=False)
    client.start(call(timeout=10.0), now=0.0)
    client.machine.link_up(client.link)
    client.sent()
    client.hear(WELCOME, now=4.0)
    (message,) = client.sent()
    assert 5999 <= message.timeout <= 6001


def test_a_call_over_an_open_link_is_sent_at_once():
    client = Client()
    asked = client.start(call())
    assert calls(client.sent()) == [asked.id]


def test_a_call_without_a_time_limit_says_none():
    client = Client()
    client.start(call())
    (message,) = client.sent()
    assert message.timeout is None


def test_a_call_says_its_time_in_milliseconds():
    client = Client()
    client.start(call(timeout=2.0, now=100.0), now=100.5)
    (message,) = client.sent()
    assert 1500 <= message.timeout <= 1501


def test_a_call_that_is_hardly_in_time_has_a_millisecond():
    client = Client()
    client.start(call(timeout=100.0, now=100.0), now=199.9999)
    (message,) = client.sent()
    assert message.timeout == 1


def test_a_stream_tells_the_server_no_time():
    client = Client()
    client.start(call(timeout=2.0, credit=4))
    (message,) = client.sent()
    assert message.timeout is None


@pytest.mark.parametrize("timeout", [1e18, 1e300, float("inf")])
def test_a_time_limit_that_is_as_good_as_none_can_be_sent(timeout):
    client = Client()
    client.start(call(timeout=timeout))
    assert len(codec.Encoder().encode(client.sent())) == 1


def test_calls_take_turns_over_the_open_links():
    client = Client(links=3)
    for _ in range(6):
        client.start(call())
    assert [len(calls(client.sent(link))) for link in client.links] == [2, 2, 2]


def test_a_link_that_is_not_open_gets_no_calls():
    client = Client(links=2)
    client.machine.link_lost(client.link, "gone", 0.0)
    client.start(call())
    client.start(call())
    assert len(calls(client.sent(client.links[1]))) == 2


def test_ids_count_up_and_begin_with_1():
    client = Client()
    assert [client.start(call()).id for _ in range(3)] == [1, 2, 3]


def test_a_call_larger_than_the_server_takes_ends_unsent():
    """The server's `max_size` is for the client to keep: ZeroMQ would cut the link, and all its
    calls with it.
    """
    client = Client(open=False)
    client.machine.link_up(client.link)
    client.sent()
    client.hear(Welcome(b"s" * 16, "service", 65536, 100, {}))
    asked = call()
    asked.message.args = pack(["x" * 1_000_000], LIMIT)
    client.start(asked)
    assert ([type(error) for _, error in asked.outcomes], client.sent()) == (
        [errors.ResourceExhausted],
        [],
    )


# Answers


def test_a_reply_ends_its_call():
    client = Client()
    asked = client.start(call())
    client.hear(Reply(asked.id, raw("result")))
    assert asked.result == "result"


def test_a_call_that_has_ended_is_forgotten():
    client = Client()
    asked = client.start(call())
    client.hear(Reply(asked.id, raw(1)))
    assert (asked.ended, len(client.machine.calls)) == (True, 0)


def test_a_second_reply_is_ignored():
    client = Client()
    asked = client.start(call())
    client.hear(Reply(asked.id, raw(1)), Reply(asked.id, raw(2)))
    assert asked.result == 1


def test_replies_come_in_any_order():
    client = Client()
    first, second = client.start(call()), client.start(call())
    client.hear(Reply(second.id, raw("second")), Reply(first.id, raw("first")))
    assert (first.result, second.result) == ("first", "second")


@pytest.mark.parametrize(
    "answer",
    [
        Reply(1, raw(1)),
        Error(1, "UNKNOWN", "X", ""),
        Refusal(1, "ABORTED", ""),
        Item(1, raw(1)),
        End(1),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_an_answer_over_another_link_is_ignored(answer):
    client = Client(links=2)
    asked = client.start(call(credit=1))
    (other,) = (link for link in client.links if link is not asked.link)
    client.hear(answer, link=other)
    assert (asked.outcomes, asked.items) == ([], [])


def test_an_answer_to_no_call_is_ignored():
    client = Client()
    client.hear(
        Reply(5, raw(1)),
        Error(6, "UNKNOWN", "X", ""),
        Item(7, raw(1)),
        End(8),
        Pong(9),
        Credit(5, 1),
    )
    assert client.sent() == []


def test_a_result_has_the_type_that_was_asked_for():
    client = Client()
    asked = client.start(call(returns=tuple[int, int]))
    client.hear(Reply(asked.id, raw([1, 2])))
    assert asked.result == (1, 2)


def test_a_result_of_another_type_than_asked_for_is_an_error_of_that_call():
    client = Client()
    asked = client.start(call(returns=int))
    client.hear(Reply(asked.id, raw("text")))
    assert isinstance(asked.error, errors.InvalidArgument)


def test_a_result_that_cannot_be_read_spoils_only_its_own_call():
    client = Client()
    bad, good = client.start(call()), client.start(call())
    client.hear(Reply(bad.id, msgspec.Raw(b"\xa1\xff")), Reply(good.id, raw(1)))
    assert (type(bad.error), good.result) == (errors.ProtocolError, 1)


@pytest.mark.parametrize("returns", [set, frozenset[Any]], ids=str)
def test_a_result_that_does_not_fit_a_set_spoils_only_its_own_call(returns):
    client = Client()
    bad, good = client.start(call(returns=returns)), client.start(call())
    client.hear(Reply(bad.id, raw([{}])), Reply(good.id, raw(1)))
    assert (isinstance(bad.error, errors.CallError), good.result) == (True, 1)


def test_an_error_of_the_handler_ends_its_call():
    client = Client()
    asked = client.start(call())
    client.hear(Error(asked.id, "UNKNOWN", "ValueError", "no"))
    assert (type(asked.error), str(asked.error)) == (errors.RemoteError, "ValueError: no")


def test_a_status_becomes_its_class():
    client = Client()
    asked = client.start(call())
    client.hear(Error(asked.id, "PERMISSION_DENIED", "", "not you"))
    assert isinstance(asked.error, errors.PermissionDenied)


def test_an_outcome_passes_through_the_interceptors_on_its_way():
    client = Client()
    asked = client.start(call())
    asked.extended().passes = lambda result, error: (f"{result}, seen", error)
    client.hear(Reply(asked.id, raw("result")))
    assert asked.result == "result, seen"


def test_an_interceptor_may_make_a_result_of_an_error():
    client = Client()
    asked = client.start(call())
    asked.extended().passes = lambda result, error: (str(error), None)
    client.hear(Error(asked.id, "UNKNOWN", "ValueError", "no"))
    assert asked.result == "ValueError: no"


def test_an_outcome_passes_through_the_interceptors_once():
    client = Client()
    asked = client.start(call(timeout=1.0))
    seen: list[Any] = []
    asked.extended().passes = lambda result, error: seen.append(result) or (result, error)
    client.hear(Reply(asked.id, raw(1)), Reply(asked.id, raw(2)))
    client.machine.tick(2.0)
    client.machine.link_lost(client.link, "gone", 0.0)
    client.machine.close(errors.Cancelled("closed"))
    assert seen == [1]


def test_a_call_has_ended_when_its_outcome_is_looked_at():
    client = Client()
    asked = client.start(call())
    asked.extended().passes = lambda result, error: (
        client.machine.cancel(asked, errors.Cancelled("again")),
        error,
    )
    client.hear(Reply(asked.id, raw(1)))
    assert asked.result is False


# Refusals


def test_a_call_refused_unstarted_goes_to_another_open_link():
    client = Client(links=2)
    asked = client.start(call())
    first = asked.link
    client.sent(first)
    client.hear(refused(asked), link=first)
    assert (asked.link is not first, calls(client.sent(asked.link)), asked.outcomes) == (
        True,
        [asked.id],
        [],
    )


def test_a_call_that_is_sent_again_has_a_new_id():
    client = Client(links=2)
    asked = client.start(call())
    before = asked.id
    client.hear(refused(asked), link=asked.link)
    assert asked.id > before


def test_a_call_that_is_sent_again_has_the_time_that_is_left():
    client = Client(links=2)
    asked = client.start(call(timeout=10.0))
    client.hear(refused(asked), link=asked.link, now=4.0)
    assert 5999 <= asked.message.timeout <= 6001


def test_a_call_is_handed_to_links_so_many_times_at_most():
    client = Client(links=3)
    asked = client.start(call())
    for _ in range(4):
        client.hear(refused(asked), link=asked.link)
        assert asked.outcomes == []
    client.hear(refused(asked), link=asked.link)
    assert (type(asked.error), asked.error.started) == (errors.Unavailable, False)


def test_a_refused_call_waits_for_a_server_that_takes_it():
    client = Client()
    asked = client.start(call())
    client.sent()
    client.hear(Drain(), refused(asked))
    assert (asked.outcomes, asked.link, list(client.machine.table.waiting.values())) == (
        [],
        None,
        [asked],
    )


def test_a_refused_call_that_does_not_wait_ends():
    client = Client()
    asked = client.start(call(wait=False))
    client.sent()
    client.hear(Drain(), refused(asked))
    assert (type(asked.error), asked.error.started) == (errors.Unavailable, False)


def test_a_refused_call_that_may_be_sent_once_ends():
    client = Client(links=2)
    asked = client.start(call())
    asked.settings.attempts = 1
    client.hear(refused(asked), link=asked.link)
    assert (type(asked.error), asked.error.started) == (errors.Unavailable, False)


# Calls that may run twice


def twice(flags: MethodFlags, links: int = 1) -> Client:
    client = Client(links=links)
    for link in client.machine.links:
        link.methods = {"m": flags}
    return client


@pytest.mark.parametrize("flags", [MethodFlags(idempotent=True), MethodFlags(readonly=True)])
def test_a_call_that_may_run_twice_is_sent_again_when_its_link_is_lost(flags):
    client = twice(flags, links=2)
    asked = client.start(call())
    client.sent(asked.link)
    lost = asked.link
    client.machine.link_lost(lost, "gone", 1.0)
    assert (asked.outcomes, asked.link) == ([], None)
    client.machine.tick(1.0)
    due = client.machine.next_tick()
    assert 1.0 <= due <= 1.05
    client.machine.tick(due)
    assert asked.link is not lost
    assert calls(client.sent(asked.link)) == [asked.id]


def test_a_call_that_may_run_once_only_ends_when_its_link_is_lost():
    client = twice(MethodFlags(), links=2)
    asked = client.start(call())
    client.sent(asked.link)
    client.machine.link_lost(asked.link, "gone", 1.0)
    assert (type(asked.error), asked.error.started) == (errors.Unavailable, None)


def test_a_call_is_not_sent_again_past_its_deadline():
    client = twice(MethodFlags(idempotent=True), links=2)
    asked = client.start(call(timeout=1.0))
    client.sent(asked.link)
    client.machine.link_lost(asked.link, "gone", 1.0)
    assert type(asked.error) is errors.Unavailable


def test_a_call_whose_time_is_over_is_not_sent():
    client = Client()
    asked = client.start(call(timeout=1.0), now=2.0)
    assert type(asked.error) is errors.DeadlineExceeded
    assert calls(client.sent()) == []


def test_a_call_is_sent_as_often_as_it_may_be():
    client = twice(MethodFlags(idempotent=True), links=2)
    asked = client.start(call())
    asked.settings.attempts = 3
    sent = 0
    now = 0.0
    while not asked.outcomes:
        link = asked.link
        client.sent(link)
        sent += 1
        client.machine.link_lost(link, "gone", now)
        client.machine.link_up(link)
        client.hear(Welcome(b"s" * 16, "service", LIMIT, 100, dict(link.methods)), link=link)
        while asked.link is None and not asked.outcomes:
            now = client.machine.next_tick()
            client.machine.tick(now)
    assert sent == 3
    assert client.machine.table.retries.attempts == {}


def lost(calls_in_flight: int, timeout: float) -> tuple[Client, list[Asked]]:
    """Calls that may run twice, whose connection was lost and has come back."""
    client = twice(MethodFlags(idempotent=True))
    asked = [client.start(call(timeout=timeout)) for _ in range(calls_in_flight)]
    client.sent()
    link = client.link
    client.machine.link_lost(link, "gone", 0.0)
    client.machine.link_up(link)
    client.hear(Welcome(b"s" * 16, "service", LIMIT, 10_000, dict(link.methods)))
    return client, asked


def test_a_part_of_all_calls_is_on_its_way_again_and_the_others_wait_for_answers():
    client, asked = lost(1000, timeout=20.0)
    now, outstanding, answered = 0.0, [], 0
    while answered < len(asked):
        assert not any(one.outcomes and one.error for one in asked)
        if not outstanding:
            now = client.machine.next_tick()
            assert now < 10.0
            client.machine.tick(now)
        outstanding += calls(client.sent())
        assert len(outstanding) <= 100
        if outstanding:
            client.hear(Reply(outstanding.pop(0), raw("done")), now=now)
            answered += 1
    assert [one.result for one in asked] == ["done"] * len(asked)
    assert client.machine.table.retries.attempts == {}


def test_calls_that_get_no_place_end_with_their_time():
    client, asked = lost(1000, timeout=20.0)
    now = sent = 0
    while now < 19.0:
        now = client.machine.next_tick()
        client.machine.tick(now)
        sent += len(calls(client.sent()))
    assert sent == 100
    assert not any(one.outcomes for one in asked)
    client.machine.tick(21.0)
    assert Counter(type(one.error) for one in asked) == {
        errors.DeadlineExceeded: 100,
        errors.Unavailable: 900,
    }
    assert client.machine.table.retries.attempts == {}
    assert client.machine.table.retries.next() is None or client.machine.table.retries.next() < 22.0


def test_calls_that_are_made_make_room_for_those_that_wait():
    client, _ = lost(20, timeout=20.0)  # of which 10, and a fifth of 20, get a place at once
    client.machine.tick(1.0)
    first = len(calls(client.sent()))
    assert first == 14
    for _ in range(30):
        client.start(call(timeout=20.0), now=1.0)
    client.machine.tick(2.0)
    assert len(calls(client.sent())) == 30 + 6


def test_what_waits_to_be_sent_again_can_be_cancelled():
    client = twice(MethodFlags(idempotent=True), links=2)
    asked = client.start(call())
    client.sent(asked.link)
    client.machine.link_lost(asked.link, "gone", 0.0)
    client.machine.cancel(asked, errors.Cancelled("enough"))
    client.machine.tick(10.0)
    assert len(asked.outcomes) == 1
    assert [calls(client.sent(link)) for link in client.machine.links] == [[], []]


@pytest.mark.parametrize("started", [True, None])
def test_a_call_that_may_have_started_is_not_sent_again(started):
    client = Client(links=2)
    asked = client.start(call())
    client.hear(refused(asked, started=started), link=asked.link)
    assert asked.error.started is started


def test_a_call_refused_for_another_cause_is_not_sent_again():
    client = Client(links=2)
    asked = client.start(call())
    client.hear(refused(asked, code="FAILED_PRECONDITION"), link=asked.link)
    assert isinstance(asked.error, errors.FailedPrecondition)


def test_a_call_for_which_there_was_no_room_goes_to_another_server():
    client = Client(links=2)
    asked = client.start(call())
    full = asked.link
    client.hear(refused(asked, code="RESOURCE_EXHAUSTED"), link=full)
    assert (asked.outcomes, asked.link is full) == ([], False)


def test_where_no_server_has_room_calls_are_not_doubled():
    client = Client(links=2)
    times = []
    for _ in range(100):
        asked = client.start(call())
        times.append(0)
        while not asked.ended:
            times[-1] += 1
            client.hear(refused(asked, code="RESOURCE_EXHAUSTED"), link=asked.link)
        assert isinstance(asked.error, errors.ResourceExhausted)
    assert sum(times) <= 100 * 1.2 + 10


def test_a_late_reply_to_the_old_id_of_a_call_is_ignored():
    client = Client(links=2)
    asked = client.start(call())
    old, first = asked.id, asked.link
    client.hear(refused(asked), Reply(old, raw("late")), link=first)
    client.hear(Reply(asked.id, raw("right")), link=asked.link)
    assert asked.result == "right"


def test_nothing_is_remembered_of_a_call_that_was_sent_again_and_answered():
    client = Client(links=2)
    asked = client.start(call())
    client.hear(refused(asked), link=asked.link)
    client.hear(Reply(asked.id, raw(1)), link=asked.link)
    assert client.machine.table.retries.attempts == {}


@pytest.mark.parametrize("ending", ["error", "cancel", "deadline", "loss"])
def test_nothing_is_remembered_of_a_call_that_was_sent_again_and_failed(ending):
    client = Client(links=2)
    asked = client.start(call(timeout=1.0))
    client.hear(refused(asked), link=asked.link)
    client.sent(asked.link)
    match ending:
        case "error":
            client.hear(Error(asked.id, "UNKNOWN", "ValueError", "no"), link=asked.link)
        case "cancel":
            client.machine.cancel(asked, errors.Cancelled("enough"))
        case "deadline":
            client.machine.tick(1.0)
        case "loss":
            client.machine.link_lost(asked.link, "gone", 0.0)
    assert (len(asked.outcomes), client.machine.table.retries.attempts) == (1, {})


# Links that are lost


def test_a_sent_call_whose_link_is_lost_may_have_started():
    client = Client()
    asked = client.start(call())
    client.sent()
    client.machine.link_lost(client.link, "gone", 0.0)
    assert (type(asked.error), asked.error.started) == (errors.Unavailable, None)


def test_an_unsent_call_whose_link_is_lost_waits_again_under_a_new_id():
    client = Client()
    asked = client.start(call())
    before = asked.id
    client.machine.link_lost(client.link, "gone", 0.0)
    client.open()
    assert (calls(client.sent()), asked.outcomes) == ([asked.id], [])
    assert asked.id > before


def test_an_unsent_call_whose_link_is_lost_goes_over_another_that_is_open():
    client = Client(links=2)
    asked = client.start(call())
    client.machine.link_lost(asked.link, "gone", 0.0)
    assert (asked.link is not None, asked.outcomes) == (True, [])


def test_an_unsent_impatient_call_whose_link_is_lost_goes_over_another_that_is_open():
    client = Client(links=2)
    asked = client.start(call(wait=False))
    client.machine.link_lost(asked.link, "gone", 0.0)
    assert asked.outcomes == []


def test_a_lost_link_takes_no_call_of_another_with_it():
    client = Client(links=2)
    first, second = client.start(call()), client.start(call())
    for link in client.links:
        client.sent(link)
    client.machine.link_lost(first.link, "gone", 0.0)
    assert (len(first.outcomes), second.outcomes) == (1, [])


def test_a_call_that_ends_may_cancel_one_that_is_still_unsent():
    client = Client()
    first = client.start(call())
    client.sent()
    second = client.start(call())
    first.at_end = lambda: client.machine.cancel(second, errors.Cancelled("with the first"))
    client.machine.link_lost(client.link, "gone", 0.0)
    assert (type(first.error), type(second.error)) == (errors.Unavailable, errors.Cancelled)


def test_an_impatient_call_that_ends_may_cancel_another():
    client = Client(open=False)
    first, second = client.start(call(wait=False)), client.start(call(wait=False))
    first.at_end = lambda: client.machine.cancel(second, errors.Cancelled("with the first"))
    client.machine.link_failed(client.link, "nobody there")
    assert (type(first.error), type(second.error)) == (errors.Unavailable, errors.Cancelled)


def test_a_call_that_ends_may_start_another():
    client = Client()
    first, second = client.start(call()), call()
    first.at_end = lambda: client.start(second)
    client.hear(Reply(first.id, raw(1)))
    assert calls(client.sent()) == [first.id, second.id]


# wait_for_ready=False


def test_an_impatient_call_fails_at_once_where_no_link_is_up():
    client = Client(open=False)
    client.machine.link_failed(client.link, "nobody there")
    asked = client.start(call(wait=False))
    assert (type(asked.error), asked.error.started) == (errors.Unavailable, False)


def test_an_impatient_call_says_why():
    client = Client(open=False)
    client.machine.link_failed(client.link, "nobody there")
    assert "nobody there" in str(client.start(call(wait=False)).error)


def test_an_impatient_call_awaits_the_outcome_of_the_first_attempt():
    client = Client(open=False)
    asked = client.start(call(wait=False))
    client.open()
    assert calls(client.sent()) == [asked.id]


def test_an_impatient_call_ends_when_the_last_attempt_has_failed():
    client = Client(links=2, open=False)
    asked = client.start(call(wait=False))
    client.machine.link_failed(client.links[0], "nobody there")
    assert asked.outcomes == []
    client.machine.link_failed(client.links[1], "nobody there either")
    assert isinstance(asked.error, errors.Unavailable)


def test_an_impatient_call_ends_when_the_last_hope_is_no_ringback_server():
    client = Client(links=2, open=False)
    client.machine.link_failed(client.links[1], "nobody there")
    asked = client.start(call(wait=False))
    client.machine.fault(client.links[0], "not ringback")
    assert len(asked.outcomes) == 1


def test_a_patient_call_waits_while_attempts_fail():
    client = Client(open=False)
    asked = client.start(call())
    client.machine.link_failed(client.link, "nobody there")
    client.machine.link_failed(client.link, "nobody there")
    assert asked.outcomes == []


# Cancelling


def test_cancelling_ends_the_call_and_tells_the_server():
    client = Client()
    asked = client.start(call())
    client.sent()
    assert client.machine.cancel(asked, errors.Cancelled("enough"))
    assert (type(asked.error), client.sent()) == (errors.Cancelled, [Cancel(asked.id)])


def test_a_call_is_cancelled_once():
    client = Client()
    asked = client.start(call())
    client.machine.cancel(asked, errors.Cancelled("enough"))
    assert not client.machine.cancel(asked, errors.Cancelled("enough"))


def test_a_waiting_call_that_is_cancelled_is_never_sent():
    client = Client(open=False)
    asked = client.start(call())
    client.machine.cancel(asked, errors.Cancelled("enough"))
    client.open()
    assert client.sent() == []


def test_a_reply_to_a_cancelled_call_is_ignored():
    client = Client()
    asked = client.start(call())
    client.machine.cancel(asked, errors.Cancelled("enough"))
    client.hear(Reply(asked.id, raw(1)))
    assert isinstance(asked.error, errors.Cancelled)


# Deadlines


def test_a_call_with_a_link_exceeds_its_deadline():
    client = Client()
    asked = client.start(call(timeout=1.0))
    client.machine.tick(1.0)
    assert isinstance(asked.error, errors.DeadlineExceeded)


def test_a_call_that_exceeds_its_deadline_is_cancelled_at_the_server():
    client = Client()
    asked = client.start(call(timeout=1.0))
    client.sent()
    client.machine.tick(1.0)
    assert client.sent() == [Cancel(asked.id)]


def test_a_call_whose_time_is_over_without_a_link_was_never_started():
    client = Client(open=False)
    asked = client.start(call(timeout=1.0))
    client.machine.tick(1.0)
    assert (type(asked.error), asked.error.started) == (errors.Unavailable, False)


def test_a_call_lives_until_its_deadline():
    client = Client()
    asked = client.start(call(timeout=1.0))
    client.machine.tick(0.999)
    assert asked.outcomes == []


def test_a_call_without_a_deadline_lives_on():
    client = Client()
    asked = client.start(call())
    client.machine.tick(1e9)
    assert (asked.outcomes, client.machine.next_tick()) == ([], math.inf)


def test_the_first_look_at_the_deadlines_is_at_the_earliest():
    client = Client()
    for timeout in (3.0, 1.0, 2.0):
        client.start(call(timeout=timeout))
    assert client.machine.next_tick() == 1.0


def test_no_look_at_the_deadlines_follows_another_at_once():
    client = Client()
    for timeout in (1.0, 1.0001, 1.0002):
        client.start(call(timeout=timeout))
    client.machine.tick(1.0)
    assert client.machine.next_tick() == pytest.approx(1.0 + TICK)


def test_no_deadline_is_overlooked_by_more_than_a_tick():
    client = Client()
    asked = [client.start(call(timeout=1.0 + n / 1000)) for n in range(20)]
    while (now := client.machine.next_tick()) < math.inf:
        before = {one for one in asked if one.outcomes}
        client.machine.tick(now)
        late = [now - one.deadline for one in asked if one.outcomes and one not in before]
        assert all(0 <= lateness <= TICK for lateness in late)
    assert all(isinstance(one.error, errors.DeadlineExceeded) for one in asked)


def test_a_call_with_an_earlier_deadline_brings_the_next_look_forward():
    client = Client()
    client.start(call(timeout=10.0))
    client.start(call(timeout=1.0))
    assert client.machine.next_tick() == 1.0


def test_a_reply_in_time_leaves_nothing_to_expire():
    client = Client()
    asked = client.start(call(timeout=1.0))
    client.hear(Reply(asked.id, raw(1)))
    client.machine.tick(2.0)
    assert asked.result == 1


# Streams


def test_items_come_before_the_end():
    client = Client()
    asked = client.start(call(credit=4))
    client.hear(Item(asked.id, raw("a")), Item(asked.id, raw("b")), End(asked.id))
    assert (asked.items, asked.result) == (["a", "b"], None)


def test_items_have_the_type_that_was_asked_for():
    client = Client()
    asked = client.start(call(credit=4, returns=tuple[int, int]))
    client.hear(Item(asked.id, raw([1, 2])))
    assert asked.items == [(1, 2)]


def test_an_item_that_does_not_fit_ends_the_stream_at_both_ends():
    client = Client()
    asked = client.start(call(credit=4, returns=int))
    client.sent()
    client.hear(Item(asked.id, raw("text")), Item(asked.id, raw(1)))
    assert (type(asked.error), asked.items, client.sent()) == (
        errors.InvalidArgument,
        [],
        [Cancel(asked.id)],
    )


def test_an_item_for_a_call_that_is_no_stream_harms_no_other_call():
    class Plain(Asked):
        __slots__ = ()

        def item(self, value: Any, size: int) -> None:
            super(Asked, self).item(value, size)

    client = Client()
    model = call()
    plain = client.start(Plain(model.message, model.settings))
    other = client.start(call())
    client.hear(Item(plain.id, raw(1)), Reply(other.id, raw("fine")))
    assert other.result == "fine"


def test_an_item_moves_the_deadline_of_its_stream():
    client = Client()
    asked = client.start(call(timeout=1.0, credit=4))
    client.hear(Item(asked.id, raw(1)), now=0.9)
    client.machine.tick(1.5)
    assert asked.outcomes == []


def test_a_stream_that_brings_nothing_exceeds_its_deadline():
    client = Client()
    asked = client.start(call(timeout=1.0, credit=4))
    client.hear(Item(asked.id, raw(1)), now=0.9)
    client.machine.tick(1.95)
    assert isinstance(asked.error, errors.DeadlineExceeded)


def test_credit_is_told_to_the_server():
    client = Client()
    asked = client.start(call(credit=4))
    client.sent()
    client.machine.grant(asked, 3, 0.0)
    assert client.sent() == [Credit(asked.id, 3)]


def test_credit_moves_the_deadline_too():
    client = Client()
    asked = client.start(call(timeout=1.0, credit=1))
    client.machine.grant(asked, 1, 0.9)
    client.machine.tick(1.5)
    assert asked.outcomes == []


def test_a_stream_that_has_ended_gets_no_credit():
    client = Client()
    asked = client.start(call(credit=4))
    client.hear(End(asked.id))
    client.sent()
    client.machine.grant(asked, 3, 0.0)
    assert client.sent() == []


# Arguments that stream


def uploading(client: Client, timeout: float | None = None) -> tuple[Asked, Sending]:
    asked = call(timeout=timeout)
    asked.extended().upload = sending = Sending()
    client.start(asked)
    return asked, sending


def test_credit_reaches_the_argument_and_items_the_server():
    client = Client()
    asked, sending = uploading(client)
    client.sent()
    client.hear(Credit(asked.id, 2), Credit(asked.id, 0), Credit(asked.id, 3))
    client.machine.send_item(asked, raw("a"), 0.0)
    client.machine.end_items(asked, 0.0)
    assert sending.told == [2, 3]
    assert client.sent() == [Item(asked.id, raw("a")), End(asked.id)]


def test_nothing_is_sent_for_a_call_that_has_ended():
    client = Client()
    asked, sending = uploading(client)
    client.hear(Credit(asked.id, 2), Reply(asked.id, raw("enough")))
    client.sent()
    client.machine.send_item(asked, raw("a"), 0.0)
    client.machine.end_items(asked, 0.0)
    assert (sending.told, client.sent()) == ([2, "stop"], [])


@pytest.mark.parametrize("end", ["cancel", "deadline", "loss", "error", "close"])
def test_an_argument_is_told_once_that_its_call_has_ended(end):
    client = Client()
    asked, sending = uploading(client, timeout=1.0)
    client.sent()
    match end:
        case "cancel":
            client.machine.cancel(asked, errors.Cancelled("no more"))
        case "deadline":
            client.machine.tick(1.1)
        case "loss":
            client.machine.link_lost(client.link, "lost", 0.0)
        case "error":
            client.hear(Error(asked.id, "UNKNOWN", "E", "text"))
        case "close":
            client.machine.close(errors.Cancelled("closed"))
    assert (sending.told, len(asked.outcomes)) == (["stop"], 1)


def test_a_call_with_a_streaming_argument_tells_the_server_no_time():
    client = Client()
    uploading(client, timeout=2.0)
    (message,) = client.sent()
    assert message.timeout is None


@pytest.mark.parametrize("event", ["credit", "item", "end"])
def test_each_event_of_a_streaming_argument_moves_the_deadline(event):
    client = Client()
    asked, _ = uploading(client, timeout=1.0)
    match event:
        case "credit":
            client.hear(Credit(asked.id, 1), now=0.9)
        case "item":
            client.machine.send_item(asked, raw(1), 0.9)
        case "end":
            client.machine.end_items(asked, 0.9)
    client.machine.tick(1.5)
    assert asked.outcomes == []
    client.machine.tick(1.95)
    assert isinstance(asked.error, errors.DeadlineExceeded)


def test_no_event_moves_a_deadline_beyond_the_latest():
    client = Client()
    asked = call(timeout=1.0, credit=4)
    asked.extended().latest = 1.2
    client.start(asked)
    client.hear(Item(asked.id, raw(1)), now=0.9)
    client.machine.tick(1.25)
    assert isinstance(asked.error, errors.DeadlineExceeded)


def test_a_refused_call_is_sent_again_only_while_it_has_had_no_credit():
    for credit in (0, 1):
        client = Client(links=2)
        asked, _ = uploading(client)
        if credit:
            client.hear(Credit(asked.id, credit), link=asked.link)
        client.hear(Refusal(asked.id, "UNAVAILABLE", "going", started=False), link=asked.link)
        assert len(asked.outcomes) == credit


def test_an_item_larger_than_the_server_takes_is_not_sent():
    client = Client(open=False)
    client.machine.link_up(client.link)
    client.hear(msgspec.structs.replace(WELCOME, max_size=100))
    asked, _ = uploading(client)
    client.sent()
    with pytest.raises(errors.ResourceExhausted, match="an item for m takes 103 bytes"):
        client.machine.send_item(asked, raw("x" * 101), 0.0)
    assert client.sent() == []


# A connection that takes no more

MIB = 1 << 20


@pytest.mark.parametrize(("value", "many"), [(raw("x" * 100), 2929), (raw("x" * MIB), 1)])
def test_items_wait_for_the_transport_and_go_on_when_it_has_taken_them(value, many):
    client = Client()
    asked, sending = uploading(client)
    for _ in range(many - 1):
        client.machine.send_item(asked, value, 0.0)
    assert not sending.held
    client.machine.send_item(asked, value, 0.0)
    assert sending.held
    client.sent()
    client.machine.link_flushed(client.link)
    assert (sending.held, sending.told) == (False, ["go on"])
    client.machine.send_item(asked, raw("x"), 0.0)
    client.machine.link_flushed(client.link)
    assert sending.told == ["go on"]


def test_a_new_connection_has_nothing_unsent():
    client = Client()
    asked, _ = uploading(client)
    client.machine.send_item(asked, raw("x" * MIB), 0.0)
    client.machine.link_lost(client.link, "lost", 0.0)
    client.open()
    asked, sending = uploading(client)
    client.machine.send_item(asked, raw("x" * 1000), 0.0)
    assert not sending.held


def test_pongs_that_nobody_asked_for_are_counted():
    client = Client()
    client.hear(Pong(1), Pong(2))
    assert client.link.unasked == 2


# One-way calls


def test_a_one_way_call_waits_for_a_link():
    client = Client(open=False)
    note = Notify("n", NOTHING)
    client.machine.notify(note)
    client.open()
    assert client.sent() == [note]


def test_a_one_way_call_is_sent_at_once_over_an_open_link():
    client = Client()
    note = Notify("n", NOTHING)
    client.machine.notify(note)
    assert client.sent() == [note]


def test_an_unsent_one_way_call_whose_link_is_lost_waits_for_the_next():
    client = Client()
    note = Notify("n", NOTHING)
    client.machine.notify(note)
    client.machine.link_lost(client.link, "gone", 0.0)
    client.open()
    assert client.sent() == [note]


# Draining and leaving


def test_a_drain_is_answered():
    client = Client()
    client.hear(Drain())
    assert (client.link.state, client.sent()) == (LinkState.DRAINING, [Drained()])


def test_what_was_not_sent_to_a_server_that_drains_goes_elsewhere():
    client = Client(links=2)
    asked = [client.start(call()) for _ in range(2)]
    note = Notify("n", NOTHING)
    client.machine.notify(note)
    drained, other = client.machine.links
    client.hear(Drain(), link=drained)
    assert client.sent(drained) == [Drained()]
    assert [type(message) for message in client.sent(other)].count(Call) == 2
    assert [one.outcomes for one in asked] == [[], []]


def test_a_link_to_a_draining_server_may_be_replaced():
    client = Client()
    old = client.link
    asked = client.start(call())
    client.sent()
    client.hear(Drain())
    new = client.machine.replace(old)
    late = client.start(call())
    assert late.link is None
    client.machine.link_up(new)
    client.hear(WELCOME, link=new)
    assert late.link is new
    client.hear(Reply(asked.id, raw(1)), link=old)
    assert (asked.result, client.machine.state) == (1, "ready")


def test_a_draining_server_gets_no_new_call():
    client = Client(links=2)
    client.hear(Drain(), link=client.link)
    client.sent()
    for _ in range(3):
        client.start(call())
    assert calls(client.sent()) == []


def test_a_draining_server_still_answers():
    client = Client()
    asked = client.start(call())
    client.sent()
    client.hear(Drain(), Reply(asked.id, raw(1)))
    assert asked.result == 1


def test_a_call_to_a_draining_server_can_be_cancelled():
    client = Client()
    asked = client.start(call())
    client.sent()
    client.hear(Drain())
    client.sent()
    client.machine.cancel(asked, errors.Cancelled("enough"))
    assert client.sent() == [Cancel(asked.id)]


def test_an_impatient_call_to_a_draining_server_alone_fails():
    client = Client()
    client.hear(Drain())
    asked = client.start(call(wait=False))
    assert (type(asked.error), asked.error.started) == (errors.Unavailable, False)


def test_no_error_says_that_a_call_waited_which_did_not():
    client = Client()
    client.hear(Drain())
    asked = client.start(call(timeout=10.0))
    assert [error for _, error in asked.outcomes if "waited" in str(error)] == []


def test_a_draining_link_that_is_lost_and_comes_back_is_open_again():
    client = Client()
    client.hear(Drain())
    client.machine.link_lost(client.link, "gone", 0.0)
    client.open()
    asked = client.start(call())
    assert calls(client.sent()) == [asked.id]


def test_a_bye_is_said_back_after_the_answers_before_it_were_read():
    client = Client()
    asked = client.start(call())
    client.sent()
    client.hear(Drain(), Reply(asked.id, raw(1)), Bye())
    assert (asked.result, client.sent()[-1]) == (1, Bye())


def test_a_ping_is_answered_with_its_token():
    client = Client()
    client.hear(Ping(42))
    assert client.sent() == [Pong(42)]


# Faults


def test_a_fault_ends_the_calls_of_its_link():
    client = Client()
    asked = client.start(call())
    client.hear(Fault("I do not understand"))
    assert (type(asked.error), client.link.state) == (errors.ProtocolError, LinkState.CLOSED)


def test_a_client_that_cannot_read_what_a_server_says_tells_it():
    """Else the server goes on working for calls that have ended, and keeps their streams."""
    client = Client()
    client.start(call())
    client.sent()
    client.machine.fault(client.link, "this is not a batch of ringback messages")
    assert [type(message) for message in client.sent()] in ([Fault], [Bye], [Cancel], [Cancel, Bye])


def test_a_call_that_a_fault_has_ended_is_not_sent_afterwards():
    client = Client()
    client.start(call())
    client.machine.fault(client.link, "nonsense")
    assert calls(client.sent()) == []


def test_a_fault_leaves_the_calls_of_other_links_alone():
    client = Client(links=2)
    first, second = client.start(call()), client.start(call())
    client.sent(first.link)
    client.machine.fault(first.link, "nonsense")
    assert (len(first.outcomes), second.outcomes) == (1, [])


def test_a_call_that_was_not_sent_over_a_link_at_fault_goes_elsewhere():
    client = Client(links=2)
    asked = client.start(call())
    client.machine.fault(asked.link, "nonsense")
    assert (asked.outcomes, asked.link.state) == ([], LinkState.OPEN)


def test_a_call_that_ends_with_a_fault_may_cancel_another():
    client = Client()
    first, second = client.start(call()), client.start(call())
    first.at_end = lambda: client.machine.cancel(second, errors.Cancelled("with the first"))
    client.machine.fault(client.link, "nonsense")
    assert (type(first.error), type(second.error)) == (errors.ProtocolError, errors.Cancelled)


def test_calls_that_wait_end_when_every_link_is_at_fault():
    client = Client(links=2, open=False)
    asked = client.start(call())
    for link in client.links:
        client.machine.fault(link, "nonsense")
    assert isinstance(asked.error, errors.ProtocolError)


def test_a_link_at_fault_stays_closed():
    client = Client()
    client.machine.fault(client.link, "nonsense")
    client.machine.link_lost(client.link, "gone", 0.0)
    client.machine.link_up(client.link)
    assert client.link.state is LinkState.CLOSED


def test_a_call_with_every_link_at_fault_fails_and_says_why():
    client = Client()
    client.machine.fault(client.link, "version 9 was spoken")
    asked = client.start(call())
    assert (type(asked.error), "version 9" in str(asked.error)) == (errors.ProtocolError, True)


# Closing


def test_closing_ends_every_call():
    client = Client(links=2)
    client.machine.link_lost(client.links[1], "gone", 0.0)
    sent = client.start(call())
    client.machine.close(errors.Cancelled("closed"))
    assert (type(sent.error), len(client.machine.calls)) == (errors.Cancelled, 0)


def test_closing_ends_the_calls_that_wait():
    client = Client(open=False)
    asked = client.start(call())
    client.machine.close(errors.Cancelled("closed"))
    assert (type(asked.error), client.machine.table.waiting) == (errors.Cancelled, {})


def test_closing_takes_leave_last_of_all():
    client = Client()
    asked = client.start(call())
    client.sent()
    client.machine.close(errors.Cancelled("closed"))
    assert client.sent() == [Cancel(asked.id), Bye()]


def test_a_closed_client_does_not_come_back():
    client = Client()
    client.machine.close(errors.Cancelled("closed"))
    client.sent()
    client.machine.link_lost(client.link, "gone", 0.0)
    client.machine.link_up(client.link)
    assert client.sent() == []


# Whatever a server says


@settings(deadline=None, max_examples=150)
@given(heard_from_server, st.sampled_from([0, 2]))
def test_no_order_of_messages_raises_or_ends_a_call_twice(messages, credit):
    client = Client(open=False)
    client.machine.link_up(client.link)
    asked = [client.start(call(credit=credit, timeout=10.0)) for _ in range(4)]
    client.hear(*messages)
    client.machine.close(errors.Cancelled("closed"))
    assert [len(one.outcomes) for one in asked] == [1, 1, 1, 1]


@settings(deadline=None, max_examples=150)
@given(heard_from_server)
def test_whatever_was_heard_what_is_said_can_be_encoded(messages):
    client = Client()
    client.start(call())
    client.hear(*messages)
    assert (
        codec.from_client().decode([bytes(f) for f in codec.Encoder().encode(client.sent())[0]])
        is not None
    )


# Calls that are held: the answer to another is theirs


def test_a_call_that_is_held_is_not_sent():
    client = Client()
    client.machine.hold(call())
    assert (client.sent(), len(client.machine.calls)) == ([], 1)


def test_a_call_that_is_held_ends_with_what_it_is_told():
    client = Client()
    asked = call()
    client.machine.hold(asked)
    client.machine.end(asked, 3, None)
    assert (asked.result, len(client.machine.calls)) == (3, 0)


def test_a_call_that_is_held_ends_by_its_deadline():
    client = Client()
    asked = call(timeout=1.0)
    client.machine.hold(asked)
    assert client.machine.next_tick() == 1.0
    client.machine.tick(1.0)
    assert isinstance(asked.error, errors.DeadlineExceeded)
    assert not client.sent()


def test_a_call_that_was_held_is_sent_with_the_time_it_has_left():
    client = Client()
    asked = call(timeout=3.0)
    client.machine.hold(asked)
    client.machine.send(asked, 1.0)
    (sent,) = client.sent()
    assert sent.timeout == 2000
    client.hear(Reply(sent.id, raw(1)))
    assert asked.result == 1


def test_the_end_of_a_link_is_nothing_to_a_call_that_is_held():
    client = Client()
    asked = call()
    client.machine.hold(asked)
    client.machine.link_lost(client.link, "gone", 0.0)
    assert not asked.ended


def test_closing_ends_a_call_that_is_held():
    client = Client()
    asked = call()
    client.machine.hold(asked)
    client.machine.close(errors.Cancelled("closed"))
    assert isinstance(asked.error, errors.Cancelled)


def test_items_beyond_the_credit_end_the_call_and_no_other():
    client = Client()
    asked, other = client.start(call(credit=2)), client.start(call())
    client.hear(*[Item(asked.id, raw(n)) for n in range(5)], Reply(other.id, raw("fine")))
    assert asked.items == [0, 1]
    assert isinstance(asked.error, errors.ProtocolError)
    assert other.result == "fine"


def test_credit_that_was_granted_lets_as_many_items_come():
    client = Client()
    asked = client.start(call(credit=1))
    client.machine.grant(asked, 2, 0.0)
    client.hear(*[Item(asked.id, raw(n)) for n in range(3)], End(asked.id))
    assert (asked.items, asked.result) == ([0, 1, 2], None)


def test_the_end_of_a_stream_is_no_answer_to_a_plain_call():
    client = Client()
    asked = client.start(call(returns=int))
    client.hear(End(asked.id))
    assert isinstance(asked.error, errors.ProtocolError)


def test_pings_without_end_take_no_memory():
    client = Client()
    client.hear(*[Ping(n) for n in range(10_000)], *[Bye()] * 10_000)
    assert len(client.sent()) < 2000


def test_a_link_that_was_given_up_hears_nothing():
    client = Client()
    client.machine.fault(client.link, "nonsense")
    client.sent()
    client.hear(Ping(1), Bye(), WELCOME)
    assert client.sent() == []


def test_the_text_of_a_fault_is_kept_short():
    client = Client()
    asked = client.start(call())
    client.hear(Fault("x" * 1_000_000))
    assert len(str(asked.error)) < 2000


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0, 0.0, -float("inf")])
def test_a_weight_that_is_none_is_bounded(weight):
    client = Client(open=False)
    client.machine.link_up(client.link)
    client.hear(msgspec.structs.replace(WELCOME, about=About(weight=weight)))
    assert 0 < client.link.weight < 1e9


def test_a_server_cannot_name_services_without_end():
    client = Client()
    asked = client.start(call())
    client.hear(*[Reached(asked.id, {f"service {n}": 1, "one more": n}) for n in range(1, 3000)])
    assert len(client.machine.versions.versions) == 1000
    assert client.machine.versions.versions["one more"] == 2999


@pytest.mark.parametrize("message", [Pong(5), Reply(99, NOTHING), Item(99, NOTHING)], ids=repr)
def test_a_server_that_says_nothing_but_what_nobody_asked_for_is_not_read_for_ever(message):
    client = Client()
    asked = client.start(call())
    for _ in range(9):
        client.hear(*[message] * (UNASKED // 10))
    client.hear(Reply(asked.id, raw(3)))
    assert asked.result == 3
    for _ in range(9):
        client.hear(*[message] * (UNASKED // 10))
        assert client.link.state is LinkState.OPEN
    client.hear(*[message] * (UNASKED // 5))
    assert client.link.state is LinkState.CLOSED
    assert "unsolicited messages" in client.link.reason


# A server that reads nothing


def test_what_is_given_up_before_it_was_sent_is_taken_out_of_the_outbox():
    client = Client()
    kept = client.start(call())
    for _ in range(50):
        for asked in [client.start(call()) for _ in range(1000)]:
            client.machine.cancel(asked, errors.Cancelled("given up"))
    assert len(client.link.outbox) < 10_000
    sent = client.sent()
    assert kept.id in calls(sent)
    cancelled = {message.id for message in sent if isinstance(message, Cancel)}
    assert cancelled == set(calls(sent)) - {kept.id}


def test_large_calls_that_are_given_up_are_taken_out_at_once():
    client = Client()
    for _ in range(20):
        asked = call()
        asked.extended().size = 1024 * 1024
        client.machine.cancel(client.start(asked), errors.Cancelled("given up"))
        assert len(client.link.outbox) <= 2


def test_of_a_call_that_was_sent_and_is_given_up_the_cancel_stays():
    client = Client()
    sent = [client.start(call()) for _ in range(3000)]
    stream = client.start(call(credit=4))
    assert len(calls(client.sent())) == 3001
    client.machine.grant(stream, 4, 0.0)
    for asked in [stream, *sent]:
        client.machine.cancel(asked, errors.Cancelled("given up"))
    assert [type(message) for message in client.link.outbox] == [Cancel] * 3001


def test_a_call_whose_start_was_cut_keeps_its_id(monkeypatch):
    """At the end of the caller's stack, say: what has gathered is started again with the next."""
    client = Client(links=2)
    asked = call(timeout=1.0)
    asked.extended().size = 5000
    with monkeypatch.context() as patched:
        patched.setattr(client.machine._sender, "route", lambda *_: exec("raise RecursionError"))
        with pytest.raises(RecursionError):
            client.machine.start_all([asked], 0.0)
    client.machine.start_all([asked], 0.0)
    assert (list(client.machine.calls), client.machine.table.bytes) == ([1], 5000)
    client.hear(Reply(1, raw("done")), link=asked.link)
    assert (asked.result, client.machine.calls, client.machine.table.bytes) == ("done", {}, 0)
