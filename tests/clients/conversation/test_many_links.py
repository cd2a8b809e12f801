"""A client of many servers: which of them gets a call, and what becomes of it, one rule at a time."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from exchange import LIMIT, Asked, Sending, call, raw
from ringback import errors
from ringback.balancing import Ejection, LeastInFlight, Policy, RoundRobin
from ringback.balancing.balancer import FOR_REPEATABLE
from ringback.balancing.hedging import ENOUGH
from ringback.balancing.outliers import ASK_AFTER, AT_FIRST, LOOK, SILENT_AFTER, HealthCondition
from ringback.balancing.versions import Versions
from ringback.clients.conversation.links import Link, LinkState
from ringback.clients.conversation.machine import ClientMachine
from ringback.protocol.messages import (
    About,
    Bye,
    Call,
    Cancel,
    Drain,
    Drained,
    End,
    Error,
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
from ringback.protocol.values import NOTHING, Unpacker, pack

METHODS = {
    "read": MethodFlags(readonly=True),
    "again": MethodFlags(idempotent=True),
    "write": MethodFlags(),
}
NOW = 100.0


class Client:
    """A client, and what its servers do.

    All but the hello has been said; each server has a name, its place in `links`.
    """

    def __init__(
        self,
        *about: About,
        policy: Policy | None = None,
        zone: str = "",
        ejection: Ejection | None = None,
        searching: bool = False,
        open: bool = True,  # noqa: A002
    ) -> None:
        self.now = NOW
        self.machine = ClientMachine(
            [f"tcp://host:{n}" for n in range(len(about))],
            b"c" * 16,
            LIMIT,
            policy=policy or RoundRobin(),
            zone=zone,
            ejection=ejection,
            searching=(lambda: "none is known") if searching else None,
        )
        self.links: list[Link] = list(self.machine.links)
        if open:
            for link, one in zip(self.links, about, strict=True):
                self.open(link, one)

    def open(self, link: Link, about: About | None = None, max_size: int = LIMIT) -> None:
        self.machine.link_up(link)
        link.outbox.clear()
        self.hear(link, Welcome(b"s" * 16, "service", max_size, 100, METHODS, about))

    def hear(self, link: Link, *messages: Any) -> None:
        self.machine.receive(link, messages, Unpacker(), self.now)

    def call(self, method: str = "write", **options: Any) -> Asked:
        plan = {
            name: options.pop(name)
            for name in ("affinity", "hedged", "only", "session")
            if name in options
        }
        asked = call(method, now=self.now, **options)
        for name, value in plan.items():
            setattr(asked.extended(), name, value)
        return self.start(asked)

    def start(self, asked: Asked) -> Asked:
        self.machine.start_all([asked], self.now)
        return asked

    def after(self, seconds: float) -> None:
        """So much time passes, in which the client looks when it means to."""
        end = self.now + seconds
        while (due := self.machine.next_tick()) <= end:
            self.now = max(self.now, due)
            self.machine.tick(self.now)
        self.now = end

    def reply(self, asked: Asked, value: Any = None) -> None:
        assert asked.link is not None
        self.hear(asked.link, Reply(asked.id, raw(value)))

    def fail(self, asked: Asked, code: str = "UNKNOWN") -> None:
        assert asked.link is not None
        self.hear(asked.link, Error(asked.id, code, "", "text"))

    def refuse(self, asked: Asked, code: str = "UNAVAILABLE", started: bool | None = False) -> None:
        assert asked.link is not None
        self.hear(asked.link, Refusal(asked.id, code, "text", started))

    def lose(self, link: Link) -> None:
        self.machine.link_lost(link, "gone", self.now)

    def fall_silent(self) -> None:
        """Those that have something to answer say nothing, for so long that they are taken for
        silent.
        """
        self.after(ASK_AFTER + SILENT_AFTER + 3 * LOOK)

    def sent(self, link: Link) -> list[Any]:
        """What has been said on that link since the last look."""
        outbox, link.outbox = link.outbox, []
        return outbox

    def deliver(self) -> None:
        for link in self.links:
            link.outbox = []

    def place(self, asked: Asked) -> int | None:
        return None if asked.link is None else self.links.index(asked.link)

    def places(self, count: int, method: str = "write", **options: Any) -> set[int | None]:
        """Where so many calls go, each answered before the next."""
        found = set()
        for _ in range(count):
            asked = self.call(method, **options)
            found.add(self.place(asked))
            if not asked.ended:
                self.reply(asked)
        return found

    @property
    def in_flight(self) -> list[int]:
        return [link.in_flight for link in self.links]

    def put_out(self, link: Link) -> None:
        """It fails until it is out, as of now."""
        while link.health.condition is HealthCondition.FIT:
            asked = self.call("write")
            if asked.link is link:
                self.fail(asked)
            else:
                self.reply(asked)


EQUAL = About()
PRIMARY, REPLICA = About("primary"), About("replica")


def equal(count: int = 3, **options: Any) -> Client:
    return Client(*[EQUAL] * count, **options)


# What is in flight


def test_a_call_is_counted_at_its_server_until_it_ends():
    client = equal()
    asked = client.call()
    assert client.in_flight == [1, 0, 0]
    client.reply(asked)
    assert client.in_flight == [0, 0, 0]


@pytest.mark.parametrize("crossing", ["reply first", "cancel first"])
def test_an_answer_and_a_cancel_that_cross_are_counted_once(crossing):
    client = equal(2)
    asked = client.call()
    link, id_ = asked.link, asked.id
    steps = [
        lambda: client.hear(link, Reply(id_, raw(1))),
        lambda: client.machine.cancel(asked, errors.Cancelled("enough")),
    ]
    for step in steps if crossing == "reply first" else reversed(steps):
        step()
    assert client.in_flight == [0, 0]
    client.hear(link, Reply(id_, raw(1)))
    assert client.in_flight == [0, 0]


def test_a_call_that_is_sent_elsewhere_is_counted_there():
    client = equal(2)
    asked = client.call()
    client.refuse(asked)
    assert (client.place(asked), client.in_flight) == (1, [0, 1])


def test_a_call_that_waits_to_be_sent_again_is_counted_nowhere():
    client = equal(2)
    client.call("again")
    client.deliver()
    client.lose(client.links[0])
    assert client.in_flight == [0, 0]
    client.after(0.1)
    assert client.in_flight == [0, 1]


def test_a_stream_is_counted_until_its_end():
    client = equal(2)
    asked = client.call("read", credit=4)
    client.hear(asked.link, Item(asked.id, raw(1)))
    assert client.in_flight == [1, 0]
    client.hear(asked.link, End(asked.id))
    assert client.in_flight == [0, 0]


def test_a_call_with_an_argument_that_streams_is_counted_until_its_end():
    client = equal(2)
    asked = call("write")
    asked.extended().upload = Sending()
    client.start(asked)
    assert (client.in_flight, client.links[0].awaited) == ([1, 0], 0)
    client.reply(asked)
    assert client.in_flight == [0, 0]


@pytest.mark.parametrize("how", ["sent", "ended", "cancelled", "out of time"])
def test_a_call_that_was_held_leaves_no_trace(how):
    client = equal(2)
    asked = call("read", timeout=1.0, now=NOW)
    client.machine.hold(asked)
    assert client.in_flight == [0, 0]
    if how == "sent":
        client.machine.send(asked, client.now)
        assert client.in_flight == [1, 0]
        client.reply(asked)
    elif how == "ended":
        client.machine.end(asked, "kept", None)
    elif how == "cancelled":
        client.machine.cancel(asked, errors.Cancelled("enough"))
    else:
        client.after(2.0)
        assert type(asked.error) is errors.DeadlineExceeded
    assert client.in_flight == [0, 0]
    assert [link.failures for link in client.links] == [0, 0]


def test_a_call_that_is_too_large_for_its_server_is_counted_nowhere():
    client = Client(EQUAL, EQUAL, open=False)
    for link in client.links:
        client.open(link, max_size=65536)
    asked = call("write")
    asked.message.args = pack([bytes(100_000)], LIMIT)
    client.start(asked)
    assert type(asked.error) is errors.ResourceExhausted
    assert client.in_flight == [0, 0]


def test_the_end_of_one_call_may_take_another_along_when_a_link_opens():
    client = Client(EQUAL, EQUAL, open=False)
    large, other = call("write"), call("write")
    large.message.args = pack([bytes(100_000)], LIMIT)
    large.at_end = lambda: client.machine.cancel(other, errors.Cancelled("with the other"))
    client.start(large)
    client.start(other)
    client.open(client.links[0], max_size=65536)
    assert (client.sent(client.links[0]), client.in_flight) == ([], [0, 0])


def test_closing_ends_both_of_two_that_are_the_same():
    client, asked, twin = hedged()
    client.machine.close(errors.Cancelled("closed"))
    assert type(asked.error) is errors.Cancelled
    assert (client.machine.calls, client.in_flight) == ({}, [0, 0])
    assert client.sent(client.links[0]) == [Cancel(asked.id), Bye()]
    assert client.sent(client.links[1]) == [twin, Cancel(twin.id), Bye()]


# Roles


def test_what_changes_something_goes_to_a_primary():
    client = Client(REPLICA, PRIMARY, REPLICA)
    assert client.places(6, "write") == client.places(6, "again") == {1}


def test_what_only_reads_goes_to_the_replicas():
    assert Client(REPLICA, PRIMARY, REPLICA).places(6, "read") == {0, 2}


def test_a_method_that_no_server_has_told_of_goes_to_a_primary():
    assert Client(REPLICA, PRIMARY).places(4, "unheard of") == {1}


def test_a_server_without_a_role_among_others_is_a_primary():
    client = Client(EQUAL, REPLICA)
    assert (client.places(4, "write"), client.places(4, "read")) == ({0}, {1})


def test_where_no_server_has_a_role_all_get_everything():
    client = equal(2)
    assert client.places(4, "write") == client.places(4, "read") == {0, 1}


def test_without_a_replica_the_primary_answers_reads():
    client = Client(PRIMARY, REPLICA)
    client.lose(client.links[1])
    assert client.places(3, "read") == {0}


def test_what_changes_something_waits_for_a_primary():
    client = Client(REPLICA, PRIMARY)
    client.lose(client.links[1])
    asked = client.call("write")
    assert asked.id in client.machine.table.waiting
    client.open(client.links[1], PRIMARY)
    assert client.place(asked) == 1


def test_who_will_not_wait_for_a_primary_is_told_that_there_is_none():
    client = Client(REPLICA, PRIMARY)
    client.lose(client.links[1])
    asked = client.call("write", wait=False)
    assert type(asked.error) is errors.Unavailable
    assert asked.error.started is False
    assert "no primary" in str(asked.error)


def test_a_one_way_call_waits_for_a_primary():
    client = Client(REPLICA, PRIMARY)
    client.lose(client.links[1])
    client.machine.notify(Notify("write", NOTHING))
    assert client.sent(client.links[0]) == []
    client.open(client.links[1], PRIMARY)
    assert [type(message) for message in client.sent(client.links[1])] == [Notify]


def test_a_read_that_its_replica_refuses_goes_to_the_primary():
    client = Client(PRIMARY, REPLICA, REPLICA)
    asked = client.call("read")
    client.refuse(asked)
    assert client.place(asked) == 0


def test_replicas_that_are_all_unwell_leave_reads_to_the_primary():
    client = Client(PRIMARY, REPLICA)
    client.call("read")
    client.call("write")
    client.deliver()
    client.after(ASK_AFTER + LOOK)
    client.hear(client.links[0], Pong(0))
    client.after(SILENT_AFTER + LOOK)
    assert client.links[1].health.condition is HealthCondition.SILENT
    assert client.place(client.call("read")) == 0


# Versions


def said(client: Client, asked: Asked) -> dict[str, int] | None:
    """The versions that the call says."""
    [message] = [
        each for each in client.sent(asked.link) if isinstance(each, Call) and each.id == asked.id
    ]
    return None if message.options is None else message.options.versions


def test_versions_are_said_to_servers_with_a_role():
    client = Client(PRIMARY, REPLICA)
    assert said(client, client.call("read")) == {}


def test_versions_are_not_said_where_no_server_has_a_role_and_nobody_asks():
    client = equal(2)
    assert said(client, client.call("read")) is None


def test_a_session_says_them_whatever_the_servers_are():
    client = equal(2)
    assert said(client, client.call("read", session=Versions({"service": 3}))) == {"service": 3}


def test_what_was_seen_is_said_in_the_next_call():
    client = Client(PRIMARY, REPLICA)
    write = client.call("write")
    client.hear(write.link, Reached(write.id, {"service": 7}), Reply(write.id, raw(None)))
    assert said(client, client.call("read")) == {"service": 7}


def test_the_highest_version_is_kept():
    client = Client(PRIMARY, REPLICA)
    for version in (7, 5, 9, 1):
        write = client.call("write")
        client.hear(write.link, Reached(write.id, {"service": version, "other": 10 - version}))
        client.reply(write)
    assert client.machine.versions.versions == {"service": 9, "other": 9}


def test_a_session_of_its_own_sees_for_itself():
    client = Client(PRIMARY, REPLICA)
    own = Versions({"service": 2})
    write = client.call("write", session=own)
    client.hear(write.link, Reached(write.id, {"service": 7}), Reply(write.id, raw(None)))
    assert (own.versions, client.machine.versions.versions) == ({"service": 7}, {})


def test_a_replica_that_is_known_to_be_up_to_date_is_preferred():
    client = Client(PRIMARY, REPLICA, REPLICA, REPLICA)
    reads = [client.call("read") for _ in range(3)]
    for read, version in zip(reads, (4, 8, 6), strict=True):
        client.hear(read.link, Reached(read.id, {"service": version}), Reply(read.id, raw(None)))
    assert client.places(4, "read") == {2}
    assert client.places(6, "read", session=Versions({"service": 6})) == {2, 3}


def test_where_no_replica_is_known_to_be_up_to_date_any_is_asked():
    client = Client(PRIMARY, REPLICA, REPLICA)
    assert client.places(4, "read", session=Versions({"service": 6})) == {1, 2}


def test_a_server_that_comes_back_may_be_behind():
    client = Client(PRIMARY, REPLICA, REPLICA)
    for read in [client.call("read") for _ in range(2)]:
        client.hear(read.link, Reached(read.id, {"service": 5}), Reply(read.id, raw(None)))
    client.lose(client.links[1])
    client.open(client.links[1], REPLICA)
    assert client.places(4, "read") == {2}


def test_a_version_that_comes_when_the_call_is_over_says_nothing():
    client = Client(PRIMARY, REPLICA)
    write = client.call("write")
    client.reply(write)
    client.hear(client.links[0], Reached(write.id, {"service": 7}))
    assert client.machine.versions.versions == {}


# Weights, zones, keys, one server only


def test_calls_are_shared_by_weights():
    client = Client(About(weight=3.0), About(weight=1.0))
    places = [client.place(client.call()) for _ in range(8)]
    assert (places.count(0), places.count(1)) == (6, 2)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0, 0.0, 1e300])
def test_a_weight_that_cannot_be_spoils_no_choice(weight):
    client = Client(About(weight=weight), EQUAL, EQUAL)
    assert client.places(8) >= {1, 2} or weight > 1
    assert all(0 < link.weight <= 1e6 for link in client.links)


def test_servers_of_the_same_zone_are_preferred():
    north, south = About(zone="north"), About(zone="south")
    client = Client(north, south, south, zone="south")
    assert client.places(6) == {1, 2}


def test_where_none_of_the_zone_is_fit_others_are_asked():
    client = Client(About(zone="north"), About(zone="south"), zone="south")
    client.lose(client.links[1])
    assert client.places(2) == {0}


def test_a_zone_in_which_there_is_no_server_is_none():
    assert Client(About(zone="north"), EQUAL, zone="west").places(4) == {0, 1}


def test_calls_with_the_same_key_go_to_the_same_server():
    client = equal(5)
    places = [client.places(3, affinity=str(key)) for key in range(20)]
    assert all(len(each) == 1 for each in places)
    assert len(set().union(*places)) > 1


def test_a_key_moves_while_its_server_is_away_and_comes_back_with_it():
    client = equal(5)
    [home] = client.places(1, affinity="a")
    client.lose(client.links[home])
    [elsewhere] = client.places(3, affinity="a")
    assert elsewhere != home
    client.open(client.links[home])
    assert client.places(3, affinity="a") == {home}


def test_a_call_for_one_server_goes_there():
    client = equal(3)
    assert client.places(3, only=client.links[1]) == {1}


def test_a_call_for_one_server_waits_while_that_is_connecting():
    client = Client(EQUAL, EQUAL, open=False)
    client.open(client.links[0])
    asked = client.call(only=client.links[1])
    assert asked.id in client.machine.table.waiting
    client.open(client.links[1])
    assert client.place(asked) == 1


@pytest.mark.parametrize("how", ["lost", "draining", "failed", "removed"])
def test_a_call_for_one_server_ends_where_that_is_gone(how):
    client = Client(EQUAL, EQUAL, searching=True, open=how in ("lost", "draining"))
    link = client.links[1]
    waiting = client.call("read", only=link)
    match how:
        case "lost":
            client.lose(link)
        case "draining":
            client.hear(link, Drain())
        case "failed":
            client.machine.link_failed(link, "no server there")
        case "removed":
            client.machine.remove(link)
    assert type(waiting.error) is errors.Unavailable
    assert waiting.error.started is False
    assert type(client.call(only=link).error) is errors.Unavailable


@pytest.mark.parametrize("how", ["refused", "full", "lost"])
def test_a_call_for_one_server_is_never_sent_again(how):
    client = equal(2)
    asked = client.call("read", only=client.links[1])
    client.deliver()
    match how:
        case "refused":
            client.refuse(asked)
        case "full":
            client.refuse(asked, "RESOURCE_EXHAUSTED")
        case "lost":
            client.lose(client.links[1])
    assert isinstance(asked.error, errors.CallError)
    assert client.in_flight == [0, 0]


def test_calls_that_wait_keep_their_order_whatever_is_asked_of_them():
    client = Client(EQUAL, EQUAL, open=False)
    asked = [client.call(affinity="a"), client.call(), client.call(affinity="a"), client.call()]
    client.machine.link_failed(client.links[1], "no server there")
    client.open(client.links[0])
    sent = [message.id for message in client.sent(client.links[0])]
    assert sent == [one.id for one in asked]


# Silence


def test_a_server_that_says_nothing_is_asked_whether_it_is_there():
    client = equal(2)
    client.call()
    client.deliver()
    client.after(ASK_AFTER + LOOK)
    assert [type(message) for message in client.sent(client.links[0])] == [Ping]
    assert client.sent(client.links[1]) == []


def test_a_server_that_says_so_is_left_its_calls():
    client = equal(2)
    asked = client.call("again")
    client.deliver()
    for _ in range(10):
        client.after(2 * LOOK)
        client.hear(client.links[0], Pong(0))
    assert client.place(asked) == 0


def test_what_may_run_twice_leaves_a_silent_server():
    client = equal(2)
    asked = client.call("again")
    old = asked.id
    client.deliver()
    client.fall_silent()
    assert (client.place(asked), client.in_flight) == (1, [0, 1])
    assert Cancel(old) in client.sent(client.links[0])


def test_what_must_not_run_twice_waits_for_it():
    client = equal(2)
    asked = client.call("write")
    client.deliver()
    client.fall_silent()
    assert (client.place(asked), client.in_flight) == (0, [1, 0])
    client.reply(asked, "late")
    assert asked.result == "late"


@pytest.mark.parametrize("kind", ["stream", "upload", "only", "one attempt"])
def test_what_is_bound_to_its_server_waits_for_it(kind):
    client = equal(2)
    asked = call("read", credit=4 if kind == "stream" else 0)
    if kind == "upload":
        asked.extended().upload = Sending()
    if kind == "only":
        asked.extended().only = client.links[0]
    if kind == "one attempt":
        asked.settings.attempts = 1
    client.start(asked)
    client.deliver()
    client.fall_silent()
    assert client.place(asked) == 0


def test_a_silent_server_gets_no_calls():
    client = equal(2)
    client.call("write")
    client.deliver()
    client.fall_silent()
    assert client.places(4) == {1}


def test_only_so_many_calls_leave_a_silent_server():
    client = equal(2)
    asked = [client.call("again", only=None) for _ in range(60)]
    client.deliver()
    for one in asked:
        if client.place(one) == 1:
            client.reply(one)
    client.fall_silent()
    assert 10 <= client.in_flight[1] < 30
    assert client.in_flight[0] + client.in_flight[1] == 30


def test_a_server_that_is_heard_again_comes_back_slowly():
    client = equal(2)
    client.call("write")
    client.deliver()
    client.fall_silent()
    client.hear(client.links[0], Pong(0))
    assert client.links[0].share == AT_FIRST
    assert client.places(40) == {0, 1}


def test_where_all_are_silent_all_are_asked():
    client = equal(2)
    client.call("write")
    client.call("write")
    client.deliver()
    client.fall_silent()
    assert {client.place(client.call()) for _ in range(4)} == {0, 1}


# Failures


def test_a_server_that_fails_gets_no_calls_for_a_while():
    client = equal(3)
    client.put_out(client.links[1])
    assert client.places(9) == {0, 2}


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "ABORTED", "PERMISSION_DENIED", "UNIMPLEMENTED"]
)
def test_an_error_of_the_callers_own_is_no_failure(code):
    client = equal(2)
    for _ in range(40):
        client.fail(client.call(), code)
    assert client.places(4) == {0, 1}


@pytest.mark.parametrize("how", ["an error of the caller's own", "a stream that ends"])
def test_what_shows_that_a_server_is_well_begins_the_row_anew(how):
    client = equal(2)
    for _ in range(10):
        for _ in range(3):
            client.fail(client.call(only=client.links[0]))
        if how == "a stream that ends":
            stream = client.call("read", credit=1, only=client.links[0])
            client.hear(client.links[0], End(stream.id))
        else:
            client.fail(client.call(only=client.links[0]), "ABORTED")
    assert client.links[0].health.condition is HealthCondition.FIT


def test_answers_that_do_not_come_in_time_are_failures():
    client = equal(2)
    for _ in range(5):
        client.call(timeout=0.1, only=client.links[0])
    client.after(0.2)
    assert client.places(4) == {1}


def test_a_stream_that_fails_late_does_not_make_its_server_slow():
    client = equal(2)
    stream = client.call("read", credit=1, only=client.links[0])
    client.now += 3600.0
    client.fail(stream)
    assert client.links[0].cost(client.now) == 0.0


def test_it_is_tried_with_one_call_when_its_time_is_over():
    client = equal(2)
    client.put_out(client.links[0])
    client.after(1.0)
    assert [client.place(client.call("read")) for _ in range(4)] == [0, 1, 1, 1]


def test_a_call_with_a_key_tries_only_the_server_of_its_key():
    client = equal(2)
    keys = {client.place(client.call("read", affinity=str(key))): str(key) for key in range(20)}
    client.put_out(client.links[0])
    client.after(1.0)
    assert client.place(client.call("read", affinity=keys[1])) == 1
    assert client.place(client.call("read", affinity=keys[0])) == 0


def test_it_comes_back_slowly_when_that_went_well():
    client = equal(2)
    client.put_out(client.links[0])
    client.after(1.0)
    client.reply(client.call("read"))
    assert client.links[0].health.condition is HealthCondition.FIT
    assert client.links[0].share == AT_FIRST


def test_it_is_first_tried_with_a_call_that_may_run_twice():
    client = equal(2)
    client.put_out(client.links[0])
    client.after(1.0)
    assert client.places(4, "write") == {1}
    assert client.place(client.call("again")) == 0


def test_where_no_such_call_comes_it_is_tried_with_any():
    client = equal(2)
    client.put_out(client.links[0])
    client.after(1.0 + FOR_REPEATABLE)
    assert client.place(client.call("write")) == 0


def test_it_is_not_tried_with_a_one_way_call():
    client = equal(2)
    client.put_out(client.links[0])
    client.after(1.0 + FOR_REPEATABLE)
    client.deliver()
    client.machine.notify(Notify("write", NOTHING))
    assert [type(message) for message in client.sent(client.links[1])] == [Notify]


def test_when_the_call_that_tried_it_is_cancelled_the_next_one_does():
    client = equal(2)
    client.put_out(client.links[0])
    client.after(1.0)
    client.machine.cancel(client.call("read"), errors.Cancelled("enough"))
    assert client.place(client.call("read")) == 0


@pytest.mark.parametrize("how", ["a stream that ends", "an error of the caller's own"])
def test_it_may_be_tried_with_what_tells_no_time(how):
    client = equal(2)
    client.put_out(client.links[0])
    client.after(1.0)
    asked = client.call("read", credit=1 if how == "a stream that ends" else 0)
    if asked.message.credit:
        client.hear(asked.link, End(asked.id))
    else:
        client.fail(asked, "ABORTED")
    assert client.links[0].health.condition is HealthCondition.FIT


def test_a_server_without_room_is_passed_over():
    client = equal(2)
    asked = client.call()
    client.refuse(asked, "RESOURCE_EXHAUSTED")
    assert client.place(asked) == 1
    assert client.links[0].failures == 1


def test_where_no_server_has_room_the_caller_is_told():
    client = equal(2)
    asked = client.call()
    asked.settings.attempts = 2
    client.refuse(asked, "RESOURCE_EXHAUSTED")
    client.refuse(asked, "RESOURCE_EXHAUSTED")
    assert type(asked.error) is errors.ResourceExhausted


def test_what_had_begun_when_the_room_was_over_is_not_sent_again():
    client = equal(2)
    asked = client.call()
    client.refuse(asked, "RESOURCE_EXHAUSTED", started=True)
    assert type(asked.error) is errors.ResourceExhausted


def test_where_servers_are_full_only_so_many_calls_are_sent_twice():
    client = equal(2)
    ended = []
    for _ in range(100):
        asked = client.call()
        client.refuse(asked, "RESOURCE_EXHAUSTED")
        ended.append(asked.ended)
        if not asked.ended:
            client.reply(asked)
    assert 10 <= ended.count(False) <= 40


def test_who_calls_in_sequence_lets_a_server_come_back_too():
    client = equal(2)
    client.put_out(client.links[0])
    client.now += 1.0
    client.reply(client.call("read"))
    for _ in range(40):
        client.now += 0.1
        client.reply(client.call())
    assert client.links[0].share == 1.0


def test_who_calls_in_sequence_finds_a_slow_server_too():
    client = equal(2)
    for _ in range(40):
        asked = client.call()
        client.now += 0.2 if client.place(asked) == 0 else 0.01
        client.reply(asked)
    assert client.links[0].health.condition is HealthCondition.OUT


# A second server


def hedging(*about: About) -> Client:
    """Reads are known to take 0.1 s."""
    client = Client(*about or (EQUAL, EQUAL))
    for _ in range(ENOUGH):
        client.machine.table.hedging.answered("read", 0.1)
        client.machine.table.hedging.answered("write", 0.1)
    return client


def hedged(*about: About) -> tuple[Client, Asked, Any]:
    """A read at the first server, and the same at the second."""
    client = hedging(*about)
    asked = client.call("read", hedged=True, timeout=10.0)
    client.deliver()
    client.after(0.15)
    [twin] = [message for message in client.links[1].outbox if isinstance(message, Call)]
    return client, asked, twin


def test_a_read_that_takes_its_time_is_sent_to_a_second_server():
    client = hedging()
    client.call("read", hedged=True)
    client.after(0.09)
    assert client.in_flight == [1, 0]
    client.after(0.02)
    assert client.in_flight == [1, 1]


def test_the_second_is_told_the_time_that_is_left():
    _, _, twin = hedged()
    assert 9890 <= twin.timeout <= 9901


@pytest.mark.parametrize("options", [{"method": "write", "hedged": True}, {"method": "read"}])
def test_what_changes_something_or_was_not_asked_to_is_sent_once(options):
    client = hedging()
    client.call(**options)
    client.after(0.45)
    assert client.in_flight == [1, 0]


def test_a_stream_is_sent_once():
    client = hedging()
    client.call("read", credit=4, hedged=True)
    client.after(0.45)
    assert client.in_flight == [1, 0]


def test_a_call_that_ends_before_needs_no_second_one_even_where_there_could_be():
    client = hedging()
    client.call("read", hedged=True, timeout=0.05)
    client.after(0.45)
    assert client.in_flight == [0, 0]


def test_the_answer_of_the_second_counts_where_it_comes_first():
    client, asked, twin = hedged()
    old = asked.id
    client.hear(client.links[1], Reply(twin.id, raw("second")))
    assert asked.result == "second"
    assert client.sent(client.links[0]) == [Cancel(old)]
    assert (client.in_flight, client.machine.calls) == ([0, 0], {})


def test_the_answer_of_the_first_cancels_the_second():
    client, asked, twin = hedged()
    client.reply(asked, "first")
    assert asked.result == "first"
    assert client.sent(client.links[1]) == [twin, Cancel(twin.id)]
    assert (client.in_flight, client.machine.calls) == ([0, 0], {})


def test_an_answer_that_comes_after_the_other_is_passed_over():
    client, asked, twin = hedged()
    client.reply(asked, "first")
    client.hear(client.links[1], Reply(twin.id, raw("second")))
    assert (asked.result, client.in_flight) == ("first", [0, 0])


def test_an_error_of_the_second_leaves_it_to_the_first():
    client, asked, twin = hedged()
    client.hear(client.links[1], Error(twin.id, "UNKNOWN", "ValueError", "text"))
    assert (asked.ended, client.in_flight) == (False, [1, 0])
    client.reply(asked, "first")
    assert asked.result == "first"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_a_second_that_is_refused_is_not_sent_on(code):
    client, asked, twin = hedged(EQUAL, EQUAL, EQUAL)
    client.hear(client.links[1], Refusal(twin.id, code, "text", False))
    assert (asked.ended, client.in_flight) == (False, [1, 0, 0])


def test_an_error_of_the_first_ends_both():
    client, asked, _ = hedged()
    client.fail(asked, "ABORTED")
    assert type(asked.error) is errors.Aborted
    assert client.in_flight == [0, 0]


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
def test_a_call_that_is_given_up_is_given_up_at_both(how):
    client, asked, twin = hedged()
    old = asked.id
    if how == "cancelled":
        client.machine.cancel(asked, errors.Cancelled("enough"))
    else:
        client.after(11.0)
        assert type(asked.error) is errors.DeadlineExceeded
    assert Cancel(old) in client.sent(client.links[0])
    assert Cancel(twin.id) in client.sent(client.links[1])
    assert client.in_flight == [0, 0]


@pytest.mark.parametrize("how", ["lost", "refused", "full", "silent", "a fault"])
def test_where_the_first_is_gone_the_second_is_the_call(how):
    client, asked, twin = hedged()
    asked.settings.attempts = 1
    match how:
        case "lost":
            client.lose(client.links[0])
        case "refused":
            client.refuse(asked)
        case "full":
            client.refuse(asked, "RESOURCE_EXHAUSTED")
        case "silent":
            client.after(ASK_AFTER + LOOK)
            client.hear(client.links[1], Pong(0))
            client.after(SILENT_AFTER + LOOK)
        case "a fault":
            client.machine.fault(client.links[0], "nonsense")
    assert (client.place(asked), client.in_flight, asked.id) == (1, [0, 1], twin.id)
    client.hear(client.links[1], Reply(twin.id, raw("second")))
    assert (asked.result, client.in_flight) == ("second", [0, 0])


def test_where_the_second_is_lost_the_first_goes_on():
    client, asked, _ = hedged()
    client.lose(client.links[1])
    assert (client.place(asked), client.in_flight) == (0, [1, 0])
    client.reply(asked, "first")
    assert asked.result == "first"


def test_a_second_that_was_not_sent_yet_does_not_follow_its_call_to_the_same_server():
    client, asked, _ = hedged()
    client.hear(client.links[1], Drain())
    assert client.sent(client.links[1]) == [Drained()]
    assert (client.place(asked), client.in_flight) == (0, [1, 0])


def test_where_there_is_no_second_server_nothing_happens():
    client = hedging()
    client.lose(client.links[1])
    client.call("read", hedged=True)
    client.after(0.45)
    assert client.in_flight == [1, 0]


def test_a_call_for_one_server_has_no_second_one():
    client = hedging()
    client.call("read", hedged=True, only=client.links[0])
    client.after(0.45)
    assert client.in_flight == [1, 0]


def test_second_calls_are_few_where_every_call_is_slow():
    client = hedging()
    twice = 0
    for _ in range(200):
        asked = client.call("read", hedged=True)
        client.after(0.12)
        twice += sum(client.in_flight) == 2
        client.reply(asked)
    assert 5 <= twice <= 20


def test_times_are_learned_from_the_calls_that_may_be_sent_twice():
    client = equal(2)
    for _ in range(ENOUGH):
        asked = client.call("read", hedged=True)
        client.after(0.2)
        client.reply(asked)
    client.call("read", hedged=True)
    client.after(0.22)
    assert sorted(client.in_flight) == [1, 1]


def test_both_say_what_their_caller_has_seen():
    client = hedging(REPLICA, REPLICA, PRIMARY)
    client.call("read", hedged=True, session=Versions({"service": 4}))
    client.after(0.15)
    for link in client.links[:2]:
        [message] = client.sent(link)
        assert message.options.versions == {"service": 4}


# Servers that come and go


def test_without_servers_calls_wait_until_all_are_known():
    client = Client(searching=True)
    asked = client.call(wait=False)
    assert asked.id in client.machine.table.waiting
    client.machine.search_ended()
    assert type(asked.error) is errors.Unavailable
    assert "none is known" in str(asked.error)


def test_without_servers_who_is_patient_waits_for_the_first():
    client = Client(searching=True)
    asked = client.call()
    client.machine.search_ended()
    client.open(client.machine.add("tcp://host:9"))
    assert asked.link is client.machine.links[0]


def test_without_servers_a_call_ends_at_its_deadline_and_tells_why():
    client = Client(searching=True)
    asked = client.call(timeout=1.0)
    client.after(2.0)
    assert type(asked.error) is errors.Unavailable
    assert "none is known" in str(asked.error)
    assert asked.error.started is False


def test_a_client_that_searches_is_connecting():
    assert Client(searching=True).machine.state == "connecting"


def test_a_server_that_joins_gets_calls():
    client = equal(1, searching=True)
    client.links.append(client.machine.add("tcp://host:9"))
    assert client.places(3) == {0}
    client.open(client.links[1])
    assert client.places(20) == {0, 1}


def test_a_server_that_is_removed_gets_no_calls_and_finishes_those_it_has():
    client = equal(2, searching=True)
    asked = client.call()
    client.deliver()
    client.machine.remove(client.links[0])
    assert client.sent(client.links[0]) == [Drained()]
    assert client.places(4) == {1}
    client.reply(asked, "done")
    assert (asked.result, client.in_flight) == ("done", [0, 0])


def test_what_was_not_sent_to_a_server_that_is_removed_goes_elsewhere():
    client = equal(2, searching=True)
    asked = client.call()
    client.machine.remove(client.links[0])
    assert (client.place(asked), client.in_flight) == (1, [0, 1])


def test_a_removed_server_that_was_not_open_is_forgotten():
    client = Client(EQUAL, searching=True, open=False)
    client.machine.remove(client.links[0])
    assert client.links[0].state is LinkState.CLOSED
    client.machine.link_up(client.links[0])
    assert client.sent(client.links[0]) == []


def test_calls_wait_on_when_the_last_server_is_removed():
    client = Client(EQUAL, searching=True, open=False)
    client.machine.search_ended()
    patient, impatient = client.call(), client.call(wait=False)
    client.machine.remove(client.links[0])
    assert (patient.ended, type(impatient.error)) == (False, errors.Unavailable)


def test_a_removed_server_that_is_lost_ends_its_calls():
    client = equal(2, searching=True)
    asked = client.call("write")
    client.deliver()
    client.machine.remove(client.links[0])
    client.lose(client.links[0])
    assert type(asked.error) is errors.Unavailable
    assert asked.error.started is None
    assert client.in_flight == [0, 0]


def test_a_server_that_comes_back_begins_slowly():
    client = equal(2)
    client.after(10.0)
    client.machine.tick(client.now + 10.0)
    client.lose(client.links[0])
    client.open(client.links[0])
    assert client.links[0].share == AT_FIRST


# A policy of one's own


class Wild(Policy):
    """Does what it was told."""

    def __init__(self, does: Any) -> None:
        self.does = does

    def choose(self, among: Any, now: float) -> Any:
        return self.does(among)


def raises(among: Any) -> Any:
    raise ZeroDivisionError("in the policy")


@pytest.mark.parametrize("does", [raises, lambda among: None, lambda among: Link("tcp://host:99")])
def test_a_policy_that_does_wrong_costs_no_call_and_is_told_once(does, caplog):
    with caplog.at_level(logging.ERROR):
        client = equal(2, policy=Wild(does))
        asked = [client.call() for _ in range(6)]
    assert client.in_flight == [3, 3]
    for one in asked:
        client.reply(one)
    assert client.in_flight == [0, 0]
    assert len(caplog.records) == 1
    assert "Wild" in caplog.text


def test_a_policy_is_given_the_servers_that_are_fit_and_the_time():
    given: list[tuple[list[str], float]] = []

    class Last(Policy):
        def choose(self, among: Any, now: float) -> Any:
            given.append(([link.endpoint for link in among], now))
            return among[-1]

    client = equal(4, policy=Last())
    client.lose(client.links[1])
    assert client.places(1) == {3}
    assert given == [(["tcp://host:0", "tcp://host:2", "tcp://host:3"], NOW)]


def test_a_policy_is_not_asked_where_there_is_no_choice():
    client = equal(2, policy=Wild(raises))
    client.lose(client.links[0])
    assert client.places(3) == {1}


def test_the_policy_that_was_asked_for_is_used():
    client = equal(3, policy=LeastInFlight())
    asked = [client.call() for _ in range(9)]
    assert client.in_flight == [3, 3, 3]
    client.reply(asked[0])
    assert client.place(client.call()) == client.place(asked[0])
