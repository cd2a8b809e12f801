"""A client and two servers in conversation, over links that delay, repeat, misdirect and lose what
is said.

Hypothesis chooses what happens next; the invariants are what a caller may rely on. No socket, no
clock.
"""

from __future__ import annotations

from typing import Any

import pytest
from exchange import LIMIT, Asked, HeldCall
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
from ringback import errors
from ringback.balancing import RoundRobin
from ringback.clients.conversation.calls import CallSettings
from ringback.clients.conversation.links import LinkState
from ringback.clients.conversation.machine import TICK, ClientMachine
from ringback.protocol import codec
from ringback.protocol.messages import Call, End, Error, Hello, Item, Notify, Refusal, Reply
from ringback.protocol.server import Phase, ServerMachine, Session, SessionState
from ringback.protocol.values import pack

SERVERS = 2
ANSWERS = (Reply, Error, Refusal, Item, End)

indexes = st.integers(0, SERVERS - 1)
picks = st.integers(0, 1000)


class Running(HeldCall):
    """A call that a server carries out. Its handler runs on when it is cancelled, as threads do."""

    def __init__(self, session: Session, message: Call, token: int, place: Place) -> None:
        super().__init__(session, message.id)
        self.token = token
        self.place = place
        self.allowed = message.credit
        place.running.append(self)

    def credit(self, items: int) -> None:
        self.allowed += items

    def answer(self, message: Any) -> None:
        self.over()
        ended, said = self.ended, len(self.session.outbox)
        self.session.reply(self, message)
        assert len(self.session.outbox) == (said if ended else said + 1)

    def over(self) -> None:
        if self in self.place.running:
            self.place.running.remove(self)
            self.place.server.in_flight.release(self.session.quota)


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
        self.server = ServerMachine(
            "s", bytes([self.index] * 16), {}, max_size=LIMIT, max_in_flight=4
        )


def encoded(messages: list[Any]) -> list[list[bytes]]:
    return (
        [[bytes(frame) for frame in batch] for batch in codec.Encoder().encode(messages)]
        if messages
        else []
    )


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ticked = -1.0
        self.client = ClientMachine(
            [f"tcp://host:{n}" for n in range(SERVERS)], b"c" * 16, LIMIT, policy=RoundRobin()
        )
        self.launcher = [Place(n) for n in range(SERVERS)]
        self.asked: list[Asked] = []
        self.tokens: dict[Asked, int] = {}
        self.token_of_id: dict[int, int] = {}
        self.begun: set[int] = set()
        self.hearing: int | None = None  # whose words the client is reading
        self.said: list[list[bytes]] = []  # batches of answers, of all servers and times
        self.unsaid: set[str] = set()  # one-way calls that no link has taken yet
        self.noted = 0
        self.given_up: set[int] = (
            set()
        )  # links over which the client says nothing any more, not even bye

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
        self.client.start_all([asked], self.now)
        return asked

    def check_end(self, asked: Asked) -> None:
        result, error = asked.outcomes[-1]
        assert len(asked.outcomes) == 1
        assert not self.misled, "an answer counted that came over another link"
        if isinstance(error, errors.DeadlineExceeded):
            assert asked.deadline is not None
            assert self.now >= asked.deadline
        if isinstance(error, errors.Unavailable) and error.started is None:
            assert self.token_of_id.get(asked.id) == self.tokens[asked], (
                "a call that was never sent cannot have begun"
            )
        if error is None and not asked.message.credit:
            assert result == [self.tokens[asked], self.hearing]

    @rule(
        timeout=st.none() | st.sampled_from([0.001, 1.0, 5.0]),
        credits=st.lists(st.sampled_from([0, 0, 2]), min_size=1, max_size=3),
        wait=st.booleans(),
    )
    def call(self, timeout: float | None, credits: list[int], wait: bool) -> None:  # noqa: A002
        for credit in credits:
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

    @rule()
    def notify(self) -> None:
        self.noted += 1
        self.unsaid.add(f"note {self.noted}")
        self.client.notify(Notify(f"note {self.noted}", pack([], LIMIT)))

    @rule(seconds=st.sampled_from([0.001, 0.5, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = self.client.next_tick()
        if due <= self.now:
            self.client.tick(self.now)
            self.ticked = self.now

    # The links

    def connect(self, index: int) -> None:
        place = self.launcher[index]
        if place.session is None and place.server.phase is not Phase.LEAVING:
            place.session = place.server.connected(b"a", "peer")
            self.client.link_up(self.client.links[index])

    @initialize(up=st.sets(indexes))
    def begin_in_the_middle(self, up: set[int]) -> None:
        for index in sorted(up):
            self.talk(index)

    @rule(index=indexes)
    def talk(self, index: int) -> None:
        """All that is said arrives, at both ends: most conversations should get past the hello."""
        self.connect(index)
        place = self.launcher[index]
        for _ in range(2):
            self.send_up(index)
            while place.session is not None and place.up:
                self.deliver_up(index)
            self.send_down(index)
            while place.session is not None and place.down:
                self.deliver_down(index)

    @rule(
        index=indexes,
        what=st.sampled_from(["connect", "send_up", "deliver_up", "send_down", "deliver_down"]),
    )
    def one_step_of_it(self, index: int, what: str) -> None:
        getattr(self, what)(index)

    @rule(
        index=indexes,
        what=st.sampled_from(
            ["drop", "drain", "leave", "begin_again", "fail_to_connect", "misunderstand"]
        ),
    )
    def trouble(self, index: int, what: str) -> None:
        getattr(self, what)(index)

    def fail_to_connect(self, index: int) -> None:
        if self.launcher[index].session is None:
            self.client.link_failed(self.client.links[index], "nobody there")

    def drop(self, index: int) -> None:
        place = self.launcher[index]
        if place.session is not None:
            place.server.lost(place.session)
            place.session = None
            place.up, place.down = [], []
            self.client.link_lost(self.client.links[index], "gone", self.now)

    def send_up(self, index: int) -> None:
        place, link = self.launcher[index], self.client.links[index]
        if place.session is not None:
            outbox, link.outbox = link.outbox, []
            for message in outbox:
                if isinstance(message, Call):
                    (token,) = place.reader.values.plain(message.args)
                    assert message.id not in self.token_of_id, "an id was used twice"
                    self.token_of_id[message.id] = token
                elif isinstance(message, Notify):
                    self.unsaid.remove(message.method)
            place.up += encoded(outbox)

    def send_down(self, index: int) -> None:
        place = self.launcher[index]
        if place.session is not None:
            outbox, place.session.outbox = place.session.outbox, []
            place.down += encoded(outbox)
            self.said += encoded([message for message in outbox if isinstance(message, ANSWERS)])

    def deliver_up(self, index: int) -> None:
        place = self.launcher[index]
        if place.session is None or not place.up:
            return
        messages = place.reader.decode(place.up.pop(0))
        if place.session.state is SessionState.CLOSED:
            return
        for message in place.server.receive(place.session, messages):
            if isinstance(message, Notify):
                continue
            assert place.server.phase is Phase.SERVING, "a server that drains took a call"
            (token,) = place.reader.values.plain(message.args)
            full = place.server.in_flight.admit(place.session.quota)
            if full:
                code = errors.ResourceExhausted.code
                place.session.outbox.append(Refusal(message.id, code, full, started=False))
                continue
            assert token not in self.begun, "a call was carried out twice"
            self.begun.add(token)
            place.session.calls[message.id] = Running(place.session, message, token, place)

    @rule(index=indexes, twice=st.booleans())
    def deliver_what_is_asked(self, index: int, twice: bool) -> None:
        self.send_up(index)
        place = self.launcher[index]
        while place.session is not None and place.up:
            batch = place.up[0]
            self.deliver_up(index)
            if twice and not self.has_hello(batch):
                place.up.insert(0, batch)
                self.deliver_up(index)

    def deliver_down(self, index: int) -> None:
        place = self.launcher[index]
        if place.session is not None and place.down:
            self.hear(index, place.down.pop(0))

    def hear(self, index: int, batch: list[bytes]) -> None:
        reader = self.launcher[index].client_reader
        self.hearing = index
        self.client.receive(self.client.links[index], reader.decode(batch), reader.values, self.now)
        self.hearing = None

    @rule(index=indexes, pick=picks, later=st.integers(0, 3), upwards=st.booleans())
    def repeat(self, index: int, pick: int, later: int, upwards: bool) -> None:
        place = self.launcher[index]
        way = place.up if upwards else place.down
        batches = [batch for batch in way if not upwards or not self.has_hello(batch)]
        if batches:
            batch = batches[pick % len(batches)]
            way.insert(way.index(batch) + 1 + later, batch)

    @precondition(lambda self: self.said)
    @rule(index=indexes, pick=picks)
    def hear_what_was_said_before(self, index: int, pick: int) -> None:
        batch = self.said[pick % len(self.said)]
        if not self.has_items(batch):
            self.hear(index, batch)

    @precondition(lambda self: any(place.running for place in self.launcher))
    @rule(pick=picks, failed=st.booleans())
    def hear_an_answer_over_the_wrong_link(self, pick: int, failed: bool) -> None:
        index = self.pick_running(pick).place.index
        (self.answer_with_an_error if failed else self.answer)(pick)
        self.send_down(index)
        for batch in list(self.launcher[index].down):
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
        return any(
            isinstance(message, (Item, End)) for message in codec.from_server().decode(batch)
        )

    # The servers

    def pick_running(self, pick: int) -> Running:
        running = [one for place in self.launcher for one in place.running]
        return running[pick % len(running)]

    @precondition(lambda self: any(place.running for place in self.launcher))
    @rule(pick=picks)
    def answer(self, pick: int) -> None:
        one = self.pick_running(pick)
        if one.allowed:
            one.answer(End(one.id))
        else:
            one.answer(Reply(one.id, pack([one.token, one.place.index], LIMIT)))

    @precondition(lambda self: any(place.running for place in self.launcher))
    @rule(pick=picks)
    def answer_with_an_error(self, pick: int) -> None:
        one = self.pick_running(pick)
        one.answer(Error(one.id, "UNKNOWN", "ValueError", str(one.token)))

    @precondition(lambda self: any(place.running for place in self.launcher))
    @rule(pick=picks)
    def answer_at_once(self, pick: int) -> None:
        index = self.pick_running(pick).place.index
        self.answer(pick)
        self.send_down(index)
        self.deliver_down(index)

    @precondition(lambda self: any(one.allowed for place in self.launcher for one in place.running))
    @rule(pick=picks)
    def send_item(self, pick: int) -> None:
        streams = [one for place in self.launcher for one in place.running if one.allowed]
        one = streams[pick % len(streams)]
        if not one.ended:
            one.session.outbox.append(Item(one.id, pack(one.token, LIMIT)))

    def drain(self, index: int) -> None:
        self.launcher[index].server.drain()

    def leave(self, index: int) -> None:
        server = self.launcher[index].server
        if server.phase is Phase.DRAINING and not server.in_flight.calls:
            server.leave()

    def misunderstand(self, index: int) -> None:
        """One end cannot read what the other says.

        A client uses that link no more, so it happens to one link at most.
        """
        session = self.launcher[index].session
        if session is not None and all(
            link.state is not LinkState.CLOSED for link in self.client.links
        ):
            if len(self.asked) % 2:
                self.launcher[index].server.fault(session, "nonsense")
            else:
                self.client.fault(self.client.links[index], "nonsense")
                self.given_up.add(index)

    def begin_again(self, index: int) -> None:
        """The server's process ends, and its successor begins."""
        self.drop(index)
        self.launcher[index].running.clear()
        self.launcher[index].begin()

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

    @invariant()
    def a_call_waits_or_has_a_link(self) -> None:
        waiting = [asked for asked in self.client.calls.values() if asked.link is None]
        assert sorted(self.client.table.waiting) == sorted(asked.id for asked in waiting)

    @invariant()
    def each_link_counts_the_calls_that_are_at_it(self) -> None:
        for link in self.client.links:
            assert link.in_flight == sum(asked.link is link for asked in self.client.calls.values())

    @invariant()
    def a_call_that_has_a_link_can_be_answered_over_it(self) -> None:
        states = {
            asked.link.state for asked in self.client.calls.values() if asked.link is not None
        }
        assert states <= {LinkState.OPEN, LinkState.DRAINING}

    @invariant()
    def a_one_way_call_that_was_not_sent_is_kept_in_one_place(self) -> None:
        kept = [note.method for note in self.client.notes]
        for link in self.client.links:
            kept += [message.method for message in link.outbox if isinstance(message, Notify)]
        assert sorted(kept) == sorted(self.unsaid)

    @invariant()
    def no_call_waits_while_a_link_is_open(self) -> None:
        if any(link.state is LinkState.OPEN for link in self.client.links):
            assert not self.client.table.waiting

    @invariant()
    def no_call_waits_for_a_deadline_that_nobody_looks_at(self) -> None:
        deadlines = [
            asked.deadline for asked in self.client.calls.values() if asked.deadline is not None
        ]
        if deadlines:
            due = self.client.next_tick()
            assert due <= max(min(deadlines), self.ticked + 2 * TICK)

    @invariant()
    def a_handler_whose_answer_nobody_wants_was_cancelled_once(self) -> None:
        for place in self.launcher:
            for one in place.running:
                wanted = one.session.calls.get(one.id) is one
                assert (one.ended, one.cancelled) == ((False, 0) if wanted else (True, 1))

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
        assert all(not asked.ended for asked in self.client.table.retries.attempts)

    def teardown(self) -> None:
        self.closing = True
        self.client.close(errors.Cancelled("closed"))
        assert (self.client.calls, self.client.table.waiting) == ({}, {})
        assert all(len(asked.outcomes) == 1 for asked in self.asked)
        for index, place in enumerate(self.launcher):
            self.send_up(index)
            while place.session is not None and place.up:
                self.deliver_up(index)
            self.send_down(index)
            while place.session is not None and place.down:
                self.deliver_down(index)
            if place.session is not None and index not in self.given_up:
                assert place.session.calls == {}, "a server works for a client that is gone"
        self.what_is_said_not_to_have_started_has_not()
        assert all(len(asked.outcomes) == 1 for asked in self.asked)


@pytest.mark.timeout(300)  # a failure is shrunk, which takes its time
def test_whatever_the_links_do_every_call_ends_once_with_its_own_outcome():
    run_state_machine_as_test(
        Conversation,
        settings=settings(
            deadline=None, max_examples=600, stateful_step_count=50, report_multiple_bugs=False
        ),
    )
