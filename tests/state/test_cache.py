"""What is kept, for how long and within which bounds: every rule by itself, then all of them
against a model under any order of events.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.errors import UsageError
from ringback.state.cache import MISSING, Cache, Entries, cache_of


def kept(
    entries: Entries[str],
    key: str,
    value: object,
    now: float,
    *,
    size: int = 1,
    tags: tuple[str, ...] = (),
) -> None:
    found, flight = entries.ask(key, "somebody", now)
    assert found is MISSING
    assert flight is not None
    flight.tags = frozenset(tags)
    entries.land(flight, value, size, now)


def test_what_is_fresh_is_the_answer() -> None:
    entries = Entries[str](Cache(10))
    kept(entries, "a", None, 0.0)
    assert entries.ask("a", "somebody", 9.9) == (None, None)


def test_what_is_too_old_is_missing() -> None:
    entries = Entries[str](Cache(10))
    kept(entries, "a", 1, 0.0)
    assert entries.ask("a", "somebody", 10.0)[0] is MISSING


def test_of_those_who_ask_for_what_is_stale_one_refreshes() -> None:
    entries = Entries[str](Cache(10, stale=5))
    kept(entries, "a", 1, 0.0)
    value, flight = entries.ask("a", "first", 12.0)
    assert (value, entries.ask("a", "second", 12.0)) == (1, (1, None))
    assert flight is not None
    assert not flight.waiting


def test_those_who_ask_while_it_runs_wait() -> None:
    entries = Entries[str](Cache(10))
    _, flight = entries.ask("a", "first", 0.0)
    assert entries.ask("a", "second", 0.0) == (MISSING, None)
    assert flight is not None
    assert list(flight.waiting) == ["second"]


def test_what_failed_leaves_what_is_stale() -> None:
    entries = Entries[str](Cache(10, stale=5))
    kept(entries, "a", 1, 0.0)
    flight = entries.ask("a", "first", 12.0)[1]
    assert flight is not None
    entries.give_up(flight)
    assert entries.ask("a", "second", 12.0)[0] == 1


def test_what_was_asked_for_least_recently_goes_first() -> None:
    entries = Entries[str](Cache(10, entries=2))
    kept(entries, "a", 1, 0.0)
    kept(entries, "b", 2, 0.0)
    entries.ask("a", "somebody", 1.0)
    kept(entries, "c", 3, 1.0)
    assert [entries.ask(key, "somebody", 2.0)[0] for key in "abc"] == [1, MISSING, 3]


def test_what_is_larger_than_all_that_may_be_kept_makes_no_room_for_itself() -> None:
    entries = Entries[str](Cache(10, bytes=10))
    kept(entries, "a", 1, 0.0, size=5)
    kept(entries, "b", 2, 0.0, size=11)
    assert entries.ask("a", "somebody", 1.0)[0] == 1


@pytest.mark.parametrize("tags", [("red",), ("red", "blue"), ()])
def test_what_has_a_tag_that_is_invalidated_is_gone(tags: tuple[str, ...]) -> None:
    entries = Entries[str](Cache(10))
    kept(entries, "a", 1, 0.0, tags=("red", "round"))
    entries.invalidate(tags)
    assert (len(entries), entries.bytes) == (0, 0)


@pytest.mark.parametrize("known", [None, frozenset({"red"})])
def test_a_flight_that_was_invalidated_is_joined_by_nobody_and_not_kept(
    known: frozenset[str] | None,
) -> None:
    entries = Entries[str](Cache(10))
    old = entries.ask("a", "first", 0.0)[1]
    assert old is not None
    old.tags = known
    entries.invalidate(("red",))
    new = entries.ask("a", "second", 0.0)[1]
    assert new is not None
    old.tags = new.tags = frozenset({"red"})
    entries.land(old, "old", 1, 0.0)
    assert entries.ask("a", "third", 0.0) == (MISSING, None)
    entries.land(new, "new", 1, 0.0)
    assert entries.ask("a", "fourth", 0.0)[0] == "new"


def test_the_tags_of_a_call_are_those_it_is_told_and_its_method() -> None:
    assert Cache(1, tags="red").tags_of("m", (), {}) == {"m", "red"}
    assert Cache(1, tags=["red", "blue"]).tags_of("m", (), {}) == {"m", "red", "blue"}
    assert Cache(1, tags=lambda key: f"key:{key}").tags_of("m", (), {"key": 7}) == {"m", "key:7"}


def test_a_number_is_a_cache_of_so_many_seconds() -> None:
    assert cache_of(60) == Cache(60)
    assert cache_of(None) is None


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": 0}, {"stale": -1}, {"entries": 0}, {"bytes": 0}, {"tags": [1]}, {"tags": [""]}],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Cache(**{"seconds": 1, **wrong})  # type: ignore[arg-type]


# Against a model

KEYS, TAGS = st.sampled_from("abcd"), st.sampled_from(["red", "blue", "green"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), KEYS, st.frozensets(TAGS, min_size=1)),
        st.tuples(st.just("land"), st.integers(0, 5), st.integers(1, 12)),
        st.tuples(st.just("fail"), st.integers(0, 5)),
        st.tuples(st.just("invalidate"), st.lists(TAGS, max_size=2)),
        st.tuples(st.just("wait"), st.floats(0.1, 8.0)),
    ),
    max_size=60,
)


@given(EVENTS)
def test_under_any_order_of_events_every_promise_holds(events: list[tuple[object, ...]]) -> None:
    """A value is the number of the moment at which its flight began."""
    entries = Entries[int](Cache(10, stale=5, entries=3, bytes=20))
    now, askers = 0.0, 0
    flights: list[tuple[object, int]] = []  # under way, and when they began
    invalidated: dict[str, int] = {}
    tags_at: dict[int, frozenset[str]] = {}
    landed: dict[int, float] = {}
    for moment, (what, *rest) in enumerate(events, 1):
        match what:
            case "ask":
                askers += 1
                value, flight = entries.ask(rest[0], moment, now)
                if value is not MISSING:
                    assert now - landed[value] < 15
                    assert all(invalidated.get(tag, 0) < value for tag in tags_at[value])
                if flight is not None:
                    flight.tags = tags_at[moment] = rest[1]
                    flights.append((flight, moment))
            case "land" | "fail" if flights:
                flight, began = flights.pop(rest[0] % len(flights))
                landed[began] = now
                if what == "land":
                    entries.land(flight, began, rest[1], now)
                else:
                    entries.give_up(flight)
            case "invalidate":
                for tag in rest[0] or ["red", "blue", "green"]:
                    invalidated[tag] = moment
                entries.invalidate(rest[0])
            case "wait":
                now += rest[0]
        current = [
            flight for flight, began in flights if entries._flights.get(flight.key) is flight
        ]
        assert len({flight.key for flight in current}) == len(current) == len(entries._flights)
        assert len(entries) <= 3
        assert entries.bytes == sum(entry.size for entry in entries._entries.values()) <= 20
        assert {(tag, key) for tag, keys in entries._tagged.items() for key in keys} == {
            (tag, key) for key, entry in entries._entries.items() for tag in entry.tags
        }
        assert entries.hits + entries.stale + entries.misses + entries.shared == askers
