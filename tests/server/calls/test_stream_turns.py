"""Clients take turns with the streams that can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ringback.server.calls.invocations.stream_turns import AHEAD, StreamTurns


class One:
    """A stream, as far as turns know it."""

    def __init__(self, session: str, number: int) -> None:
        self.session = session
        self.number = number
        self.submitted = False

    def __repr__(self) -> str:
        return f"{self.session}{self.number}"


class Place:
    """Where streams run, one step at a time. `submitted` are those that have not begun."""

    def __init__(self) -> None:
        self.submitted: list[One] = []
        self.failed: list[tuple[One, BaseException]] = []
        self.posted: list[Callable[[], object]] = []
        self.full = False
        self.turns: Any = StreamTurns(
            self._submit,  # type: ignore[arg-type]
            self.posted.append,
            lambda stream, error: self.failed.append((stream, error)),  # type: ignore[arg-type, return-value]
        )

    def _submit(self, stream: One) -> None:
        if self.full:
            raise RuntimeError("no thread")
        self.submitted.append(stream)

    def begin(self) -> Iterator[One]:
        """Begin one stream after the other, as they are submitted."""
        while self.submitted:
            stream = self.submitted.pop(0)
            self.turns.begun(stream)
            while self.posted:
                self.posted.pop()()
            yield stream


@pytest.fixture
def place() -> Place:
    return Place()


def test_few_streams_run_at_once_and_nothing_is_posted_for_them(place: Place) -> None:
    for number in range(AHEAD):
        place.turns.add(One("a", number))
    assert len(place.submitted) == AHEAD
    for stream in place.submitted:
        place.turns.begun(stream)
    assert place.posted == []


def test_a_client_with_many_streams_does_not_delay_others(place: Place) -> None:
    for number in range(1000):
        place.turns.add(One("a", number))
    for number in range(3):
        place.turns.add(One("b", number))
    place.turns.add(One("c", 0))
    assert len(place.submitted) == AHEAD
    order = list(map(repr, place.begin()))
    assert sorted(order) == sorted(
        [*(f"a{number}" for number in range(1000)), "b0", "b1", "b2", "c0"]
    )
    for client in "abc":
        own = [name for name in order if name[0] == client]
        assert own == sorted(own, key=lambda name: int(name[1:]))
    assert max(map(order.index, ("b2", "c0"))) < AHEAD + 8


def test_a_stream_that_ends_before_it_begins_gives_its_place_to_the_next(place: Place) -> None:
    streams = [One("a", number) for number in range(2 * AHEAD)]
    for stream in streams:
        place.turns.add(stream)
    for stream in streams[:AHEAD]:
        place.turns.begun(stream)  # reported where it ends
        place.turns.begun(stream)  # once, whatever is reported
    for go_on in place.posted:
        go_on()
    assert place.submitted == streams


def test_a_stream_that_cannot_be_submitted_fails_alone(place: Place) -> None:
    place.full = True
    for number in range(3 * AHEAD):
        place.turns.add(One("a", number))
    assert [stream.number for stream, _ in place.failed] == list(range(3 * AHEAD))
    assert {str(error) for _, error in place.failed} == {"no thread"}
    place.full = False
    place.turns.add(One("b", 0))
    assert list(map(repr, place.begin())) == ["b0"]
