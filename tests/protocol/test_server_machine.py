"""The server's end of the conversation, one rule at a time."""

from __future__ import annotations

from typing import Any

import pytest
from exchange import HELLO, LIMIT, Served, greeted, heard_from_client, incoming, server
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback.protocol import codec
from ringback.protocol.messages import (
    Bye,
    Call,
    Cancel,
    Credit,
    Drain,
    Drained,
    End,
    Fault,
    Item,
    Map,
    Notify,
    Ping,
    Pong,
    Refusal,
    Reply,
    Welcome,
)
from ringback.protocol.server import ServerMachine, Session, SessionState
from ringback.protocol.values import NOTHING


def refusals(messages: list[Any]) -> list[tuple[int, str, bool | None]]:
    return [(m.id, m.code, m.started) for m in messages if isinstance(m, Refusal)]


# Hello


def test_a_hello_is_welcomed():
    machine = server()
    session = machine.connected(b"a", "peer")
    machine.receive(session, [HELLO])
    assert (session.state, session.outbox) == (
        SessionState.OPEN,
        [Welcome(b"s" * 16, "service", LIMIT, 100, {})],
    )


def test_a_hello_says_who_the_client_is_and_what_it_takes():
    machine = server()
    session = machine.connected(b"a", "peer")
    machine.receive(session, [HELLO])
    assert (session.instance, session.max_size) == (HELLO.instance, HELLO.max_size)


def test_a_call_before_the_hello_is_refused_unstarted():
    machine = server()
    session = machine.connected(b"a", "peer")
    assert machine.receive(session, [incoming(1)]) == []
    assert refusals(session.outbox) == [(1, "UNAVAILABLE", False)]


def test_a_call_after_the_hello_in_the_same_batch_is_accepted():
    machine = server()
    session = machine.connected(b"a", "peer")
    assert machine.receive(session, [HELLO, incoming(1)]) == [incoming(1)]


@pytest.mark.parametrize(
    "message",
    [Notify("n", NOTHING), Cancel(1), Credit(1, 1), Ping(1), Drained(), Bye(), Item(1, NOTHING)],
    ids=lambda message: type(message).__name__,
)
def test_what_else_comes_before_the_hello_is_ignored(message):
    machine = server()
    session = machine.connected(b"a", "peer")
    assert machine.receive(session, [message]) == []
    assert (session.outbox, session.state) == ([], SessionState.GREETING)


def test_a_second_hello_is_a_fault():
    machine = server()
    session = greeted(machine)
    machine.receive(session, [HELLO])
    assert ([type(m) for m in session.outbox], session.state) == ([Fault], SessionState.CLOSED)


# Calls


def test_calls_are_accepted_in_order():
    machine = server()
    assert machine.receive(greeted(machine), [incoming(n) for n in (1, 2, 5)]) == [
        incoming(n) for n in (1, 2, 5)
    ]


@pytest.mark.parametrize("id_", [3, 2, 1, 0, -1])
def test_a_call_whose_id_is_not_above_the_last_is_ignored(id_):
    machine = server()
    session = greeted(machine)
    machine.receive(session, [incoming(3)])
    assert (machine.receive(session, [incoming(id_)]), session.outbox) == ([], [])


def test_a_repeat_in_the_same_batch_is_ignored():
    machine = server()
    assert machine.receive(greeted(machine), [incoming(1), incoming(1)]) == [incoming(1)]


def test_calls_are_refused_where_something_is_full_and_nothing_else_is():
    machine = server()
    session = greeted(machine)
    note = Notify("n", NOTHING)
    assert machine.receive(session, [incoming(1), note, Ping(7)], "full of it") == [note]
    refusal, pong = session.outbox
    assert (refusal.id, refusal.code, refusal.message) == (1, "RESOURCE_EXHAUSTED", "full of it")
    assert pong == Pong(7)


@pytest.mark.parametrize("full", ["", "full of it"])
@pytest.mark.parametrize("first_full", ["", "full of it"])
def test_a_repeat_is_ignored_whether_or_not_calls_are_refused(first_full, full):
    machine = server()
    session = greeted(machine)
    machine.receive(session, [incoming(1)], first_full)
    session.outbox.clear()
    assert (machine.receive(session, [incoming(1)], full), session.outbox) == ([], [])


def test_the_ids_of_one_client_are_no_matter_to_another():
    machine = server()
    first, second = greeted(machine), greeted(machine)
    machine.receive(first, [incoming(9)])
    assert machine.receive(second, [incoming(1)]) == [incoming(1)]


def test_a_server_admits_as_many_calls_as_it_takes_and_no_more():
    machine = server(max_in_flight=2)
    session = greeted(machine)
    assert [machine.in_flight.admit(session.quota) for _ in range(2)] == ["", ""]
    assert machine.in_flight.admit(session.quota) == "the server has 2 calls in flight, its maximum"
    machine.in_flight.release(session.quota)
    assert machine.in_flight.admit(session.quota) == ""


def admitted(machine: ServerMachine, session: Session, weight: int = 0) -> int:
    """How many calls of a client are, until one is not."""
    count = 0
    while not machine.in_flight.admit(session.quota, weight):
        count += 1
    return count


def test_one_client_cannot_take_all_the_places():
    machine = server(max_in_flight=100)
    greedy = greeted(machine)
    assert admitted(machine, greedy) == 90
    assert (
        machine.in_flight.admit(greedy.quota)
        == "this client has 90 of the 90 calls in flight: the rest is for others"
    )
    assert admitted(machine, greeted(machine)) == 9


def test_one_client_cannot_take_all_the_bytes():
    machine = server(max_in_flight=1000, max_bytes_in_flight=10_000)
    greedy = greeted(machine)
    assert admitted(machine, greedy, 100) == 90
    assert "9,000 of the 9,000 bytes in flight" in machine.in_flight.admit(greedy.quota, 100)
    assert machine.in_flight.admit(greeted(machine).quota, 100) == ""


def test_each_further_client_that_is_greedy_leaves_a_tenth_of_what_it_found():
    machine = server(max_in_flight=10_000)
    for _ in range(3):
        admitted(machine, greeted(machine))
    assert machine.in_flight.calls == 9990


def test_a_call_that_was_given_up_counts_until_its_handler_has_ended():
    machine = server(max_in_flight=10)
    session = greeted(machine)
    for id_ in range(1, 10):
        machine.receive(session, [incoming(id_)])
        Served(session, id_)
        assert machine.in_flight.admit(session.quota) == ""
        machine.receive(session, [Cancel(id_)])
    assert machine.in_flight.admit(session.quota) != ""
    machine.in_flight.release(session.quota)
    assert machine.in_flight.admit(session.quota) == ""


def test_all_connections_of_one_user_share_what_one_client_may_have():
    machine = server(max_in_flight=100)
    sessions = [greeted(machine) for _ in range(3)]
    for session, user in zip(sessions, ["one", "one", "other"], strict=True):
        session.user = user
        machine.identified(session)
    first, second, other = sessions
    assert admitted(machine, first) == 90
    assert admitted(machine, second) == 0
    assert admitted(machine, other) > 0


def test_a_one_way_call_is_accepted():
    machine = server()
    note = Notify("n", NOTHING)
    assert machine.receive(greeted(machine), [note]) == [note]


# Answers


def test_an_answer_goes_out_once():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    session.reply(served, Reply(1, NOTHING))
    session.reply(served, Reply(1, NOTHING))
    assert session.outbox == [Reply(1, NOTHING)]


def test_an_answered_call_has_ended():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    session.reply(served, Reply(1, NOTHING))
    assert (served.ended, session.calls) == (True, {})


def test_a_call_that_was_given_up_is_not_answered():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.receive(session, [Cancel(1)])
    session.reply(served, Reply(1, NOTHING))
    assert session.outbox == []


# Cancel, credit, ping


def test_a_cancel_stops_its_call_once():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.receive(session, [Cancel(1), Cancel(1)])
    assert (served.cancelled, served.ended, session.calls) == (1, True, {})


def test_a_cancel_leaves_other_calls_alone():
    machine = server()
    session = greeted(machine)
    other = Served(session, 2)
    machine.receive(session, [Cancel(1)])
    assert (other.cancelled, session.calls) == (0, {2: other})


def test_a_client_cannot_cancel_the_call_of_another():
    machine = server()
    first, second = greeted(machine), greeted(machine)
    served = Served(first, 1)
    machine.receive(second, [Cancel(1)])
    assert served.cancelled == 0


def test_a_call_that_is_cancelled_in_its_own_batch_is_not_carried_out():
    machine = server()
    assert machine.receive(greeted(machine), [incoming(1), Cancel(1), incoming(2)]) == [incoming(2)]


def test_a_cancel_in_the_batch_of_its_call_takes_no_other_with_it():
    machine = server()
    batch = [incoming(1), Notify("n", NOTHING), incoming(2), Cancel(1), Cancel(9)]
    assert machine.receive(greeted(machine), batch) == [Notify("n", NOTHING), incoming(2)]


def test_credit_in_the_batch_of_its_call_is_not_lost():
    machine = server()
    (accepted,) = machine.receive(greeted(machine), [Call(1, "m", NOTHING, credit=1), Credit(1, 4)])
    assert accepted.credit == 5


def test_credit_reaches_its_call():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.receive(session, [Credit(1, 3), Credit(1, 2)])
    assert served.credits == [3, 2]


@pytest.mark.parametrize("items", [0, -5])
def test_credit_for_nothing_is_ignored(items):
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.receive(session, [Credit(1, items)])
    assert served.credits == []


def test_a_ping_is_answered_with_its_token():
    machine = server()
    session = greeted(machine)
    machine.receive(session, [Ping(7)])
    assert session.outbox == [Pong(7)]


@pytest.mark.parametrize(
    "message", [Item(1, NOTHING), End(1), Pong(1)], ids=lambda m: type(m).__name__
)
def test_what_nobody_waits_for_is_ignored(message):
    machine = server()
    session = greeted(machine)
    assert machine.receive(session, [message]) == []
    assert (session.outbox, session.state) == ([], SessionState.OPEN)


# Clients that go


def test_the_calls_of_a_lost_client_are_cancelled():
    machine = server()
    session = greeted(machine)
    served = [Served(session, 1), Served(session, 2)]
    machine.lost(session)
    assert [(one.cancelled, one.ended) for one in served] == [(1, True), (1, True)]


def test_a_lost_client_is_forgotten():
    machine = server()
    session = greeted(machine)
    machine.lost(session)
    assert (session.state, machine.sessions) == (SessionState.LEFT, set())


def test_of_what_a_lost_client_had_said_only_the_one_way_calls_count():
    machine = server()
    session = greeted(machine)
    machine.lost(session)
    note = Notify("n", NOTHING)
    assert machine.receive(session, [note, incoming(1), Ping(1), Drained()]) == [note]
    assert session.outbox == []


def test_a_client_at_fault_is_not_listened_to_when_it_is_lost():
    machine = server()
    session = greeted(machine)
    machine.fault(session, "nonsense")
    machine.lost(session)
    assert machine.receive(session, [Notify("n", NOTHING)]) == []


def test_a_client_that_says_bye_is_gone():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.receive(session, [Bye()])
    assert (session.state, served.cancelled) == (SessionState.CLOSED, 1)


def test_nothing_is_taken_from_a_client_after_its_bye():
    machine = server()
    session = greeted(machine)
    assert machine.receive(session, [Bye(), incoming(1), Ping(1)]) == []
    assert session.outbox == []


def test_a_fault_is_the_last_thing_that_a_client_hears():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.receive(session, [Ping(1)])
    machine.fault(session, "nonsense")
    session.reply(served, Reply(1, NOTHING))
    assert session.outbox == [Fault("nonsense")]


def test_a_client_that_hears_a_fault_in_us_is_gone():
    machine = server()
    session = greeted(machine)
    machine.receive(session, [Fault("I do not understand")])
    assert session.state is SessionState.CLOSED


def test_a_call_of_a_client_that_takes_leave_in_the_same_batch_is_not_carried_out():
    machine = server()
    assert machine.receive(greeted(machine), [incoming(1), Bye()]) == []


def test_calls_that_their_client_gives_up_in_the_same_batch_are_counted():
    machine = server()
    session = greeted(machine)
    counted: list[tuple[int, str]] = []
    machine.refused = lambda call, code, _: counted.append((call.id, code))
    machine.receive(session, [Call(1, "m", NOTHING), Map(2, "m", NOTHING), Cancel(1), Cancel(2)])
    machine.receive(
        session, [Call(3, "m", NOTHING), Map(4, "m", NOTHING), Notify("m", NOTHING), Bye()]
    )
    assert sorted(counted) == [
        (1, "CANCELLED"),
        (2, "CANCELLED"),
        (3, "CANCELLED"),
        (4, "CANCELLED"),
    ]
    assert machine.maps == []


def test_a_one_way_call_of_a_client_that_takes_leave_in_the_same_batch_is_carried_out():
    machine = server()
    note = Notify("n", NOTHING)
    assert machine.receive(greeted(machine), [note, Bye()]) == [note]


# The end of the server


def test_a_server_that_drains_tells_every_client():
    machine = server()
    sessions = [greeted(machine), greeted(machine)]
    machine.drain()
    machine.drain()
    assert [session.outbox for session in sessions] == [[Drain()], [Drain()]]


def test_a_server_that_drains_tells_nothing_to_those_who_have_not_said_hello():
    machine = server()
    session = machine.connected(b"a", "peer")
    machine.drain()
    assert session.outbox == []


def test_a_client_that_comes_while_the_server_drains_is_told():
    machine = server()
    machine.drain()
    session = machine.connected(b"a", "peer")
    machine.receive(session, [HELLO])
    assert [type(message) for message in session.outbox] == [Welcome, Drain]


def test_a_server_that_drains_refuses_new_calls_unstarted():
    machine = server()
    session = greeted(machine)
    machine.drain()
    machine.receive(session, [incoming(1)])
    assert refusals(session.outbox) == [(1, "UNAVAILABLE", False)]


def test_a_server_that_drains_answers_what_it_has_accepted():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.drain()
    machine.receive(session, [Drained()])
    session.reply(served, Reply(1, NOTHING))
    assert session.outbox == [Drain(), Reply(1, NOTHING)]


def test_a_client_that_has_drained_may_still_cancel():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.drain()
    machine.receive(session, [Drained(), Cancel(1)])
    assert served.cancelled == 1


def test_items_and_their_end_reach_the_call():
    machine = server()
    session = greeted(machine)
    machine.receive(session, [incoming(1)])
    served = Served(session, 1)
    served.takes = 2
    machine.receive(session, [Item(1, NOTHING), Item(1, NOTHING), End(1)])
    assert served.inputs == [NOTHING, NOTHING, None]


def test_an_item_beyond_the_credit_is_a_fault():
    machine = server()
    session = greeted(machine)
    machine.receive(session, [incoming(1)])
    served = Served(session, 1)
    served.takes = 1
    machine.receive(session, [Item(1, NOTHING), Item(1, NOTHING), Item(1, NOTHING)])
    assert (session.state, session.outbox) == (SessionState.CLOSED, [Fault("no credit")])
    assert (served.inputs, served.cancelled) == ([NOTHING], 1)


def test_items_for_a_call_that_has_ended_are_ignored():
    machine = server()
    session = greeted(machine)
    machine.receive(session, [incoming(1)])
    Served(session, 1)
    machine.receive(session, [Cancel(1), Item(1, NOTHING), End(1)])
    assert (session.state, session.outbox) == (SessionState.OPEN, [])


def test_a_client_that_has_drained_may_still_grant_credit():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.drain()
    machine.receive(session, [Drained(), Credit(1, 2)])
    assert served.credits == [2]


def test_a_call_after_drained_is_refused_unstarted():
    machine = server()
    session = greeted(machine)
    machine.drain()
    machine.receive(session, [Drained(), incoming(1)])
    assert refusals(session.outbox) == [(1, "UNAVAILABLE", False)]


def test_bye_follows_the_last_answer():
    machine = server()
    session = greeted(machine)
    served = Served(session, 1)
    machine.drain()
    session.reply(served, Reply(1, NOTHING))
    machine.leave()
    assert session.outbox == [Drain(), Reply(1, NOTHING), Bye()]


def test_bye_is_said_once():
    machine = server()
    session = greeted(machine)
    machine.drain()
    machine.leave()
    machine.leave()
    assert session.outbox == [Drain(), Bye()]


def test_a_server_has_left_when_every_client_has_said_bye_back():
    machine = server()
    sessions = [greeted(machine), greeted(machine)]
    machine.drain()
    machine.leave()
    machine.receive(sessions[0], [Drained(), Bye()])
    assert not machine.left()
    machine.receive(sessions[1], [Bye()])
    assert machine.left()


def test_a_server_has_left_when_its_last_client_is_lost():
    machine = server()
    session = greeted(machine)
    machine.drain()
    machine.leave()
    machine.lost(session)
    assert machine.left()


def test_a_server_does_not_wait_for_those_who_have_not_said_hello():
    machine = server()
    machine.connected(b"a", "peer")
    machine.drain()
    machine.leave()
    assert machine.left()


def test_a_client_that_says_hello_to_a_server_that_leaves_is_bidden_farewell():
    machine = server()
    machine.drain()
    machine.leave()
    session = machine.connected(b"a", "peer")
    machine.receive(session, [HELLO])
    assert [type(message) for message in session.outbox] == [Welcome, Drain, Bye]


# Whatever a client says


@settings(deadline=None, max_examples=200)
@given(st.lists(heard_from_client, max_size=4), st.booleans())
def test_no_order_of_messages_raises_or_lets_a_call_in_twice(batches, drains):
    machine = server()
    session = machine.connected(b"a", "peer")
    accepted = [message for batch in batches for message in machine.receive(session, batch)]
    if drains:
        machine.drain()
        machine.leave()
    ids = [message.id for message in accepted if isinstance(message, Call)]
    assert ids == sorted(set(ids))


@settings(deadline=None, max_examples=200)
@given(st.lists(heard_from_client, max_size=4))
def test_no_call_is_both_accepted_and_refused(batches):
    machine = server()
    session = greeted(machine)
    accepted = [message for batch in batches for message in machine.receive(session, batch)]
    refused = {id_ for id_, _, _ in refusals(session.outbox)}
    assert not refused & {message.id for message in accepted if isinstance(message, Call)}


@settings(deadline=None, max_examples=150)
@given(st.lists(heard_from_client, max_size=4))
def test_whatever_was_heard_what_is_said_can_be_encoded(batches):
    machine = server()
    session = machine.connected(b"a", "peer")
    for batch in batches:
        machine.receive(session, batch)
    (frames,) = codec.Encoder().encode(session.outbox)
    assert len(codec.from_server().decode([bytes(frame) for frame in frames])) == len(
        session.outbox
    )
