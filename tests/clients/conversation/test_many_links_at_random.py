"""A client of servers that join, leave, fail, fall silent and come back, with every kind of call.
Hypothesis chooses what happens next.

What is said on the way is the business of `test_conversation.py`; here a server is whatever answers
a call that was sent to it.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from exchange import LIMIT, Asked, Sending, raw
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import Raw
from ringback import errors
from ringback.balancing import Ejection, PeakEwma
from ringback.clients.conversation.calls import CallSettings, CallState, Duplicate, OutgoingCall
from ringback.clients.conversation.links import Link, LinkState
from ringback.clients.conversation.machine import ClientMachine
from ringback.protocol.messages import (
    About,
    Bye,
    Call,
    Cancel,
    Drain,
    End,
    Error,
    MethodFlags,
    Ping,
    Pong,
    Reached,
    Refusal,
    Reply,
    Welcome,
)
from ringback.protocol.values import NOTHING, Unpacker

METHODS = {
    "read": MethodFlags(readonly=True),
    "again": MethodFlags(idempotent=True),
    "write": MethodFlags(),
}
AT_HAND = 3

picks = st.integers(0, 1000)


class Servers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1.0
        self.values = Unpacker()
        self.asked: list[Asked] = []
        self.held: list[Asked] = []
        self.links: list[Link] = []  # those of now and of before
        self.sent: list[tuple[Link, int]] = []  # calls that a server has, and has not answered
        self.stopped: set[Link] = set()
        self.count = 0
        self.closing = False

    @initialize(
        seed=st.integers(0, 3),
        roles=st.lists(
            st.sampled_from(["", "primary", "replica"]), min_size=AT_HAND, max_size=AT_HAND
        ),
    )
    def begin(self, seed: int, roles: list[str]) -> None:
        self.machine = ClientMachine(
            [f"tcp://host:{n}" for n in range(AT_HAND)],
            b"c" * 16,
            LIMIT,
            policy=PeakEwma(random.Random(seed)),
            ejection=Ejection(failures=2),
            searching=lambda: "none is known",
        )
        self.machine.search_ended()
        for method in METHODS:  # so that there is a 95th percentile of each
            for _ in range(20):
                self.machine.table.hedging.answered(method, 0.1)
        for link, role in zip(self.machine.links, roles, strict=True):
            self.open(link, role)

    def open(self, link: Link, role: str) -> None:
        self.machine.link_up(link)
        link.outbox.clear()
        self.hear(link, Welcome(b"s" * 16, "service", LIMIT, 100, METHODS, About(role=role)))

    def hear(self, link: Link, *messages: Any) -> None:
        self.machine.receive(link, messages, self.values, self.now)

    def all_links(self) -> list[Link]:
        for link in self.machine.links:
            if link not in self.links:
                self.links.append(link)
        return self.links

    def pick(self, pick: int, *states: LinkState, among: list[Link] | None = None) -> Link | None:
        links = [link for link in (among or self.all_links()) if link.state in states]
        return links[pick % len(links)] if links else None

    # Callers

    def make(self, method: str, timeout: float | None, kind: str, wait: bool, pick: int) -> Asked:
        common = CallSettings(timeout)
        common.wait_for_ready = wait
        common.attempts = 1 + pick % 5
        deadline = None if timeout is None else self.now + timeout
        asked = Asked(
            Call(0, method, NOTHING, credit=4 if kind == "stream" else 0), common, deadline
        )
        if kind == "upload":
            asked.extended().upload = Sending()
        if kind == "hedged":
            asked.extended().hedged = True
        if kind == "keyed":
            asked.extended().affinity = str(pick)
        if kind == "pinned":
            asked.extended().only = self.all_links()[pick % len(self.links)]
        self.asked.append(asked)
        return asked

    @rule(
        method=st.sampled_from(["read", "read", "again", "write"]),
        timeout=st.none() | st.sampled_from([0.05, 2.0, 60.0]),
        kinds=st.lists(
            st.sampled_from(["plain", "hedged", "hedged", "keyed", "stream", "upload", "pinned"]),
            min_size=1,
            max_size=6,
        ),
        wait=st.booleans(),
        pick=picks,
    )
    def call(
        self, method: str, timeout: float | None, kinds: list[str], wait: bool, pick: int
    ) -> None:
        for kind in kinds:
            self.machine.start_all([self.make(method, timeout, kind, wait, pick)], self.now)

    @rule(
        method=st.sampled_from(["read", "write"]),
        timeout=st.none() | st.just(2.0),
        kind=st.sampled_from(["plain", "hedged"]),
    )
    def hold(self, method: str, timeout: float | None, kind: str) -> None:
        self.held.append(self.make(method, timeout, kind, True, 0))
        self.machine.hold(self.held[-1])

    @precondition(lambda self: any(not one.ended for one in self.held))
    @rule(sends=st.booleans())
    def let_go_of_one_that_was_held(self, sends: bool) -> None:
        one = next(one for one in self.held if not one.ended)
        self.held.remove(one)
        if sends:
            self.machine.send(one, self.now)
        else:
            self.machine.end(one, "kept", None)

    @precondition(lambda self: self.machine.calls)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        calls = [one for one in self.asked if not one.ended]
        assert self.machine.cancel(calls[pick % len(calls)], errors.Cancelled("enough"))

    @precondition(lambda self: self.machine.calls)
    @rule(pick=picks, other=picks)
    def the_end_of_one_will_cancel_another(self, pick: int, other: int) -> None:
        calls = [one for one in self.asked if not one.ended]
        one, further = calls[pick % len(calls)], calls[other % len(calls)]
        one.at_end = lambda: self.machine.cancel(further, errors.Cancelled("with the other"))

    # Time

    @rule(seconds=st.sampled_from([0.01, 0.15, 0.3, 1.2, 1.2, 6.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.machine.next_tick()) <= end:
            self.now = max(self.now, due)
            self.deliver()
            self.machine.tick(self.now)
        self.now = end

    # Servers

    def deliver(self) -> None:
        """What was sent arrives."""
        for link in self.all_links():
            if link.state in (LinkState.OPEN, LinkState.DRAINING):
                outbox, link.outbox = link.outbox, []
                for message in outbox:
                    if isinstance(message, Call):
                        self.sent.append((link, message.id))
                    elif isinstance(message, Cancel) and (link, message.id) in self.sent:
                        self.sent.remove((link, message.id))
                    elif isinstance(message, Ping) and link not in self.stopped:
                        self.hear(link, Pong(0))

    @rule(
        picks=st.lists(picks, min_size=1, max_size=6),
        how=st.sampled_from(
            ["reply", "reply", "reply", "fail", "fail", "abort", "full", "busy", "unreadable"]
        ),
    )
    def answer(self, picks: list[int], how: str) -> None:
        self.deliver()
        for pick in picks:
            able = [(link, id_) for link, id_ in self.sent if link not in self.stopped]
            if able:
                link, id_ = able[pick % len(able)]
                self.sent.remove((link, id_))
                self.hear(link, *self.words(id_, how, pick))

    def words(self, id_: int, how: str, pick: int) -> list[Any]:
        match how:
            case "reply":
                call = self.machine.calls.get(id_)
                streams = call is not None and call.message.credit
                return [
                    Reached(id_, {"service": pick}),
                    End(id_) if streams else Reply(id_, raw(1)),
                ]
            case "fail":
                return [Error(id_, "UNKNOWN", "ValueError", "text")]
            case "abort":
                return [Error(id_, "ABORTED", "", "text")]
            case "full":
                return [Refusal(id_, "RESOURCE_EXHAUSTED", "text", False)]
            case "busy":
                return [Refusal(id_, "UNAVAILABLE", "text", False)]
            case _:
                return [Reply(id_, Raw(b"\xc1"))]

    @rule(pick=picks)
    def stop(self, pick: int) -> None:
        """It is there, and says nothing more."""
        if (link := self.pick(pick, LinkState.OPEN, among=self.machine.links)) is not None:
            self.stopped.add(link)

    @rule()
    def go_on(self) -> None:
        self.stopped.clear()

    @rule(
        pick=picks,
        what=st.sampled_from(["drain", "leave", "lose", "lose", "misunderstand", "part", "join"]),
    )
    def something_happens(self, pick: int, what: str) -> None:
        if pick % 2:
            self.deliver()
        getattr(self, what)(pick)

    def drain(self, pick: int) -> None:
        if (link := self.pick(pick, LinkState.OPEN, among=self.machine.links)) is not None:
            self.hear(link, Drain())
            if pick % 3:
                self.all_links()
                self.machine.replace(link)

    def leave(self, pick: int) -> None:
        if (link := self.pick(pick, LinkState.DRAINING)) is not None:
            self.hear(link, Bye())

    def lose(self, pick: int) -> None:
        if (link := self.pick(pick, LinkState.OPEN, LinkState.DRAINING)) is not None:
            self.machine.link_lost(link, "gone", self.now)
            self.sent = [(where, id_) for where, id_ in self.sent if where is not link]

    def misunderstand(self, pick: int) -> None:
        if pick % 5 == 0 and (link := self.pick(pick, LinkState.OPEN)) is not None:
            self.machine.fault(link, "nonsense")

    def part(self, pick: int) -> None:
        if len(self.machine.links) > 1:
            self.all_links()
            self.machine.remove(self.machine.links[pick % len(self.machine.links)])

    def join(self, pick: int) -> None:
        if len(self.machine.links) < 5:
            self.count += 1
            self.machine.add(f"tcp://other:{self.count}")

    @rule(roles=st.lists(st.sampled_from(["", "primary", "replica"]), min_size=5, max_size=5))
    def come(self, roles: list[str]) -> None:
        for link, role in zip(list(self.machine.links), roles, strict=False):
            if link.state in (LinkState.DOWN, LinkState.CONNECTING):
                self.stopped.discard(link)
                self.open(link, role)

    # What must hold

    def known(self) -> list[OutgoingCall]:
        return list(self.machine.calls.values())

    @invariant()
    def each_link_has_in_flight_what_is_at_it(self) -> None:
        for link in self.all_links():
            there = [one for one in self.known() if one.link is link]
            assert link.in_flight == len(there)
            assert link.awaited == sum(not one.streams for one in there)

    @invariant()
    def a_call_ends_once_and_is_known_until_then(self) -> None:
        assert all(len(one.outcomes) == one.ended for one in self.asked)
        firsts = {id(one) for one in self.known() if type(one) is not Duplicate}
        assert firsts == {id(one) for one in self.asked if not one.ended}
        assert all(one.id == id_ for id_, one in self.machine.calls.items())

    @invariant()
    def a_twin_is_elsewhere_and_lives_no_longer_than_its_first(self) -> None:
        twins = [one for one in self.known() if type(one) is Duplicate]
        for twin in twins:
            assert twin.first.extras is not None
            assert twin.first.extras.duplicate is twin
            assert twin.link is not None
            assert twin.link is not twin.first.link
            assert METHODS[twin.method].readonly
        assert len(twins) == sum(
            one.extras is not None and one.extras.duplicate is not None for one in self.asked
        )

    @invariant()
    def a_call_at_a_link_can_be_answered_there(self) -> None:
        states = {one.link.state for one in self.known() if one.link is not None}
        assert states <= {LinkState.OPEN, LinkState.DRAINING}

    @invariant()
    def no_call_waits_while_some_server_takes_it(self) -> None:
        for one in self.machine.table.waiting.values():
            assert one.link is None
            links = [link for link in self.machine.links if link.state is LinkState.OPEN]
            if one.extras is not None and one.extras.only is not None:
                links = [one.extras.only] if one.extras.only.state is LinkState.OPEN else []
            else:
                readonly = METHODS[one.method].readonly and not (
                    one.extras is not None and one.extras.primary
                )
                links = [link for link in links if link.role != "replica" or readonly]
            assert not links

    @invariant()
    def a_call_that_nobody_has_will_be_looked_at(self) -> None:
        for one in self.known():
            waits, paused = one.id in self.machine.table.waiting, one.state is CallState.PAUSED
            assert waits == (one.state is CallState.WAITING)
            assert (one.link is not None) == (one.state is CallState.SENT)
            if paused:
                retries = self.machine.table.retries
                assert any(
                    each is one
                    for each in [*(entry[2] for entry in retries._delayed), *retries._waiting]
                )

    @invariant()
    def a_server_is_tried_with_one_call(self) -> None:
        for link in self.all_links():
            trials = self.machine._balancer._trials
            assert trials <= set(self.known())
            assert sum(one.link is link for one in trials) <= 1

    def teardown(self) -> None:
        self.closing = True
        self.machine.close(errors.Cancelled("closed"))
        assert (self.machine.calls, self.machine.table.waiting) == ({}, {})
        assert all(len(one.outcomes) == 1 for one in self.asked)
        self.each_link_has_in_flight_what_is_at_it()


@pytest.mark.timeout(300)  # a failure is shrunk, which takes its time
def test_whatever_servers_do_every_call_ends_once_and_is_counted_where_it_is():
    run_state_machine_as_test(
        Servers,
        settings=settings(
            deadline=None, max_examples=250, stateful_step_count=50, report_multiple_bugs=False
        ),
    )
