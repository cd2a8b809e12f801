"""A client and two servers in conversation, over links that delay, repeat, misdirect and lose what is said.

Hypothesis chooses what happens next; the invariants are what a caller may rely on. No socket, no clock.
"""

from __future__ import annotations

from typing import Any

import pytest
from exchange import LIMIT, Asked
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ringback import errors
from ringback.protocol import codec
from ringback.protocol.client import CallSettings, ClientMachine, LinkState
from ringback.protocol.messages import Call, End, Error, Hello, Item, Refusal, Reply
from ringback.protocol.server import IncomingCall, Phase, ServerMachine, Session, SessionState
from ringback.protocol.values import pack

SERVERS = 2
ANSWERS = (Reply, Error, Refusal, Item, End)

indexes = st.integers(0, SERVERS - 1)
picks = st.integers(0, 1000)


class Running(IncomingCall):
    """A call that a server carries out."""

    __slots__ = ("allowed", "place", "token")

    def __init__(self, session: Session, message: Call, token: int, place: Place) -> None:
        super().__init__(session, message.id)
        self.token = token
        self.place = place
        self.allowed = message.credit
        place.running.append(self)

    def cancel(self) -> None:
        self.over()

    def credit(self, items: int) -> None:
        self.allowed += items

    def answer(self, message: Any) -> None:
        self.over()
        self.session.reply(self, message)

    def over(self) -> None:
        if self in self.place.running:
            self.place.running.remove(self)
            self.place.server.in_flight -= 1


class Place:
    """One server, and the two directions of the way to it."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.reader = codec.from_client()
        self.client_reader = codec.from_server()
        self.session: Session | None = None
        self.up: list[list[bytes]] = []
        self.down: list[list[bytes]] = []
        self.running: list[Running] = []
        self.begin()

    def begin(self) -> None:
        self.server = ServerMachine("s", bytes([self.index] * 16), {}, max_size=LIMIT, max_in_flight=3)


def encoded(messages: list[Any]) -> list[list[bytes]]:
    return (
        [[bytes(frame) for frame in batch] for batch in codec.Encoder().encode(messages)] if messages else []
    )


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.client = ClientMachine([f"tcp://host:{n}" for n in range(SERVERS)], b"c" * 16, LIMIT)
        self.places = [Place(n) for n in range(SERVERS)]
        self.asked: list[Asked] = []
        self.tokens: dict[Asked, int] = {}
        self.token_of_id: dict[int, int] = {}
        self.begun: set[int] = set()
        self.hearing: int | None = None  # whose words the client is reading
        self.said: list[list[bytes]] = []  # batches of answers, of all servers and times

    # The caller

    def make_call(self, timeout: float | None, credit: int, wait: bool) -> Asked:
        token = len(self.asked)
        common = CallSettings(timeout)
        common.wait_for_ready = wait
        deadline = None if timeout is None else self.now + timeout
        asked = Asked(Call(0, "m", pack([token], LIMIT), credit=credit), common, deadline)
        self.asked.append(asked)
        self.tokens[asked] = token
        asked.at_end = lambda: self.check_end(asked)
        self.client.start(asked, self.now)
        return asked

    def check_end(self, asked: Asked) -> None:
        result, error = asked.outcomes[-1]
        assert len(asked.outcomes) == 1
        assert not self.misled, "an answer counted that came over another link"
        if isinstance(error, errors.DeadlineExceeded):
            assert asked.deadline is not None
            assert self.now >= asked.deadline
        if error is None and not asked.message.credit:
            assert result == [self.tokens[asked], self.hearing]

    @rule(
        timeout=st.none() | st.sampled_from([0.001, 1.0, 5.0]),
        credit=st.sampled_from([0, 0, 2]),
        wait=st.booleans(),
    )
    def call(self, timeout: float | None, credit: int, wait: bool) -> None:
        self.make_call(timeout, credit, wait)

    @precondition(lambda self: self.client.calls)
    @rule(pick=picks, wait=st.booleans())
    def call_that_takes_another_with_it(self, pick: int, wait: bool) -> None:
        """As callbacks do: the end of one call cancels another, and starts a third."""
        other = list(self.client.calls.values())[pick % len(self.client.calls)]

        def at_end() -> None:
            self.check_end(other)
            self.client.cancel(asked, errors.Cancelled("with the other"))
            if not self.closing:
                self.make_call(None, 0, True)

        asked = self.make_call(None, 0, wait)
        if not other.ended:
            other.at_end = at_end

    @precondition(lambda self: self.client.calls)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        calls = list(self.client.calls.values())
        assert self.client.cancel(calls[pick % len(calls)], errors.Cancelled("enough"))

    @precondition(lambda self: any(call.message.credit for call in self.client.calls.values()))
    @rule(pick=picks)
    def grant(self, pick: int) -> None:
        streams = [call for call in self.client.calls.values() if call.message.credit]
        self.client.grant(streams[pick % len(streams)], 2, self.now)

    @rule(seconds=st.sampled_from([0.001, 0.5, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = self.client.next_tick()
        if due is not None and due <= self.now:
            self.client.tick(self.now)

    # The links

    @rule(index=indexes)
    def connect(self, index: int) -> None:
        place = self.places[index]
        if place.session is None and place.server.phase is not Phase.LEAVING:
            place.session = place.server.connected(b"a", "peer")
            self.client.link_up(self.client.links[index])

    @rule(index=indexes)
    def connect_in_full(self, index: int) -> None:
        """Most conversations should get past the hello."""
        self.connect(index)
        for _ in range(2):
            self.send_up(index)
            self.deliver_up(index)
            self.send_down(index)
            self.deliver_down(index)

    @rule(index=indexes)
    def fail_to_connect(self, index: int) -> None:
        if self.places[index].session is None:
            self.client.link_failed(self.client.links[index], "nobody there")

    @rule(index=indexes)
    def drop(self, index: int) -> None:
        place = self.places[index]
        if place.session is not None:
            place.server.lost(place.session)
            place.session = None
            place.up, place.down = [], []
            self.client.link_lost(self.client.links[index], "gone")

    @rule(index=indexes)
    def send_up(self, index: int) -> None:
        place, link = self.places[index], self.client.links[index]
        if place.session is not None:
            outbox, link.outbox = link.outbox, []
            for message in outbox:
                if isinstance(message, Call):
                    (token,) = place.reader.values.plain(message.args)
                    assert self.token_of_id.setdefault(message.id, token) == token
            place.up += encoded(outbox)

    @rule(index=indexes)
    def send_down(self, index: int) -> None:
        place = self.places[index]
        if place.session is not None:
            outbox, place.session.outbox = place.session.outbox, []
            place.down += encoded(outbox)
            self.said += encoded([message for message in outbox if isinstance(message, ANSWERS)])

    @rule(index=indexes)
    def deliver_up(self, index: int) -> None:
        place = self.places[index]
        if place.session is None or not place.up:
            return
        messages = place.reader.decode(place.up.pop(0))
        if place.session.state is SessionState.CLOSED:
            return
        for message in place.server.receive(place.session, messages):
            assert isinstance(message, Call)
            (token,) = place.reader.values.plain(message.args)
            assert token not in self.begun, "a call was carried out twice"
            self.begun.add(token)
            place.server.in_flight += 1
            place.session.calls[message.id] = Running(place.session, message, token, place)

    @rule(index=indexes, twice=st.booleans())
    def deliver_what_is_asked(self, index: int, twice: bool) -> None:
        self.send_up(index)
        place = self.places[index]
        while place.session is not None and place.up:
            batch = place.up[0]
            self.deliver_up(index)
            if twice and not self.has_hello(batch):
                place.up.insert(0, batch)
                self.deliver_up(index)

    @rule(index=indexes)
    def deliver_down(self, index: int) -> None:
        place = self.places[index]
        if place.session is not None and place.down:
            self.hear(index, place.down.pop(0))

    def hear(self, index: int, batch: list[bytes]) -> None:
        reader = self.places[index].client_reader
        self.hearing = index
        self.client.receive(self.client.links[index], reader.decode(batch), reader.values, self.now)
        self.hearing = None

    @rule(index=indexes, pick=picks, later=st.integers(0, 3))
    def repeat_up(self, index: int, pick: int, later: int) -> None:
        place = self.places[index]
        batches = [batch for batch in place.up if not self.has_hello(batch)]
        if batches:
            batch = batches[pick % len(batches)]
            place.up.insert(place.up.index(batch) + 1 + later, batch)

    @rule(index=indexes, pick=picks, later=st.integers(0, 3))
    def repeat_down(self, index: int, pick: int, later: int) -> None:
        down = self.places[index].down
        if down:
            position = pick % len(down)
            down.insert(position + 1 + later, down[position])

    @precondition(lambda self: self.said)
    @rule(index=indexes, pick=picks)
    def hear_what_was_said_before(self, index: int, pick: int) -> None:
        batch = self.said[pick % len(self.said)]
        if not self.has_items(batch):
            self.hear(index, batch)

    @precondition(lambda self: any(place.running for place in self.places))
    @rule(pick=picks, failed=st.booleans())
    def hear_an_answer_over_the_wrong_link(self, pick: int, failed: bool) -> None:
        index = self.pick_running(pick).place.index
        (self.answer_with_an_error if failed else self.answer)(pick)
        self.send_down(index)
        for batch in list(self.places[index].down):
            answers = [m for m in codec.from_server().decode(batch) if isinstance(m, ANSWERS)]
            for copy in encoded(answers):
                self.misled = True
                self.hear((index + 1) % SERVERS, copy)
                self.misled = False

    @staticmethod
    def has_hello(batch: list[bytes]) -> bool:
        return any(isinstance(message, Hello) for message in codec.from_client().decode(batch))

    @staticmethod
    def has_items(batch: list[bytes]) -> bool:
        return any(isinstance(message, (Item, End)) for message in codec.from_server().decode(batch))

    # The servers

    def pick_running(self, pick: int) -> Running:
        running = [one for place in self.places for one in place.running]
        return running[pick % len(running)]

    @precondition(lambda self: any(place.running for place in self.places))
    @rule(pick=picks)
    def answer(self, pick: int) -> None:
        one = self.pick_running(pick)
        if one.allowed:
            one.answer(End(one.id))
        else:
            one.answer(Reply(one.id, pack([one.token, one.place.index], LIMIT)))

    @precondition(lambda self: any(place.running for place in self.places))
    @rule(pick=picks)
    def answer_with_an_error(self, pick: int) -> None:
        one = self.pick_running(pick)
        one.answer(Error(one.id, "UNKNOWN", "ValueError", str(one.token)))

    @precondition(lambda self: any(one.allowed for place in self.places for one in place.running))
    @rule(pick=picks)
    def send_item(self, pick: int) -> None:
        streams = [one for place in self.places for one in place.running if one.allowed]
        one = streams[pick % len(streams)]
        one.session.outbox.append(Item(one.id, pack(one.token, LIMIT)))

    @rule(index=indexes)
    def drain(self, index: int) -> None:
        self.places[index].server.drain()

    @rule(index=indexes)
    def leave(self, index: int) -> None:
        server = self.places[index].server
        if server.phase is Phase.DRAINING and not server.in_flight:
            server.leave()

    @rule(index=indexes)
    def begin_again(self, index: int) -> None:
        """The server's process ends, and its successor begins."""
        self.drop(index)
        self.places[index].running.clear()
        self.places[index].begin()

    # What must hold

    closing = False
    misled = False

    @invariant()
    def a_call_ends_once_and_is_known_until_then(self) -> None:
        for asked in self.asked:
            assert len(asked.outcomes) == asked.ended <= 1
        unfinished = [asked for asked in self.asked if not asked.ended]
        assert sorted(self.client.calls) == sorted(asked.id for asked in unfinished)
        assert all(asked.id == id_ for id_, asked in self.client.calls.items())
        assert self.client.in_flight == len(unfinished)

    @invariant()
    def a_call_waits_or_has_a_link(self) -> None:
        waiting = [asked for asked in self.client.calls.values() if asked.link is None]
        assert sorted(self.client.waiting) == sorted(asked.id for asked in waiting)

    @invariant()
    def no_call_waits_while_a_link_is_open(self) -> None:
        if any(link.state is LinkState.OPEN for link in self.client.links):
            assert not self.client.waiting

    @invariant()
    def no_call_waits_for_a_deadline_that_nobody_looks_at(self) -> None:
        deadlines = [asked.deadline for asked in self.client.calls.values() if asked.deadline is not None]
        if deadlines:
            assert self.client.next_tick() is not None

    @invariant()
    def items_belong_to_their_call(self) -> None:
        for asked in self.asked:
            assert set(asked.items) <= {self.tokens[asked]}

    @invariant()
    def what_is_said_not_to_have_started_has_not(self) -> None:
        for asked in self.asked:
            for _, error in asked.outcomes:
                if isinstance(error, errors.Unavailable) and error.started is False:
                    assert self.tokens[asked] not in self.begun

    @invariant()
    def the_machine_remembers_nothing_of_ended_calls(self) -> None:
        assert all(not asked.ended for asked in self.client._attempts)

    def teardown(self) -> None:
        self.closing = True
        self.client.close(errors.Cancelled("closed"))
        assert (self.client.calls, self.client.waiting) == ({}, {})
        assert all(len(asked.outcomes) == 1 for asked in self.asked)
        for index, place in enumerate(self.places):
            self.send_up(index)
            while place.session is not None and place.up:
                self.deliver_up(index)
            self.send_down(index)
            while place.session is not None and place.down:
                self.deliver_down(index)
            if place.session is not None:
                assert place.session.calls == {}, "a server works for a client that is gone"
        self.what_is_said_not_to_have_started_has_not()
        assert all(len(asked.outcomes) == 1 for asked in self.asked)


@pytest.mark.timeout(300)  # a failure is shrunk, which takes its time
def test_whatever_the_links_do_every_call_ends_once_with_its_own_outcome():
    run_state_machine_as_test(
        Conversation,
        settings=settings(
            deadline=None, max_examples=500, stateful_step_count=50, report_multiple_bugs=False
        ),
    )
