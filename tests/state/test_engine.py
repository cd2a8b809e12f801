"""The interface that everything else is made of, against a dict: whatever is done to an engine, it
answers as the dict does.
"""

from __future__ import annotations

import os
import threading
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from processes import eventually
from ringback.errors import UsageError
from ringback.state import open_state
from ringback.state.engines.base import REMEMBERED, Change, Conflict, Missing, Row, TooLate, Write

WITHIN = 10.0
# Few and alike, so that they meet; with all that a store might take for a part of its own language.
NAMES = (
    "a",
    "aa",
    "ab",
    "b",
    "a\0",
    "a\0b",
    "ä",
    "a%",
    "a_",
    "a*",
    "a:1:V",
    "\U0001f600",
    "a\U0001f600",
    "'",
    "0",
)
HOUR = 3600.0

names = st.sampled_from(NAMES)
values = st.binary(max_size=8) | st.just(b"1:0:V") | st.just(bytes(range(256)))
writes = st.dictionaries(
    names, st.builds(Write, st.none() | values, st.none() | st.just(HOUR)), min_size=1, max_size=5
)


class EngineBesideADict(RuleBasedStateMachine):
    """`rows` holds what is there, and `changed` the revision at which each name was last written or
    removed.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.state = open_state(url)
        self.rows: dict[str, Row] = {}
        self.changed: dict[str, int] = {}
        self.newest = 0

    @property
    def engine(self):
        return self.state.engine

    def revision_of(self, name: str) -> int:
        return self.rows[name].revision if name in self.rows else 0

    def was_written(self, made: dict[str, Write], revision: int) -> None:
        assert revision > self.newest
        self.newest = revision
        for name, write in made.items():
            self.changed[name] = revision
            if write.value is None:
                self.rows.pop(name, None)
            else:
                self.rows[name] = Row(write.value, revision)

    @initialize()
    def starts_empty(self) -> None:
        assert self.engine.revision(WITHIN) == 0

    @rule(made=writes, checked=st.sets(names, max_size=4))
    def a_commit_whose_checks_are_right_is_done(
        self, made: dict[str, Write], checked: set[str]
    ) -> None:
        checks = {name: self.revision_of(name) for name in checked}
        self.was_written(made, self.engine.commit(checks, made, WITHIN))

    @rule(
        made=writes,
        checked=st.sets(names, max_size=3),
        wrong=names,
        by=st.sampled_from([-1, 1, 10**15]),
    )
    def a_commit_with_a_wrong_check_changes_nothing(
        self, made: dict[str, Write], checked: set[str], wrong: str, by: int
    ) -> None:
        checks = {name: self.revision_of(name) for name in checked} | {
            wrong: max(0, self.revision_of(wrong) + by)
        }
        if checks[wrong] == self.revision_of(wrong):
            return
        with pytest.raises(Conflict) as caught:
            self.engine.commit(checks, made, WITHIN)
        assert caught.value.name == wrong

    @rule(made=writes)
    def a_commit_that_comes_too_late_changes_nothing(self, made: dict[str, Write]) -> None:
        now = self.engine.read([], WITHIN).now
        with pytest.raises(TooLate):
            self.engine.commit({}, made, WITHIN, before=now)

    @rule(made=writes)
    def a_commit_that_comes_in_time_is_done(self, made: dict[str, Write]) -> None:
        now = self.engine.read([], WITHIN).now
        self.was_written(made, self.engine.commit({}, made, WITHIN, before=now + HOUR))

    @rule(checked=st.sets(names, max_size=3))
    def a_commit_without_writes_has_a_revision_of_its_own(self, checked: set[str]) -> None:
        self.was_written(
            {}, self.engine.commit({name: self.revision_of(name) for name in checked}, {}, WITHIN)
        )

    @rule(asked=st.lists(names, max_size=6))
    def reads(self, asked: list[str]) -> None:
        assert self.engine.read(asked, WITHIN).rows == [self.rows.get(name) for name in asked]

    @rule(
        prefix=st.sampled_from(["", "a", "a\0", "a\U0001f600", "ä", "a%", "z"]),
        back=st.integers(0, 8),
        limit=st.integers(1, 6),
    )
    def tells_what_has_changed(self, prefix: str, back: int, limit: int) -> None:
        since = max(0, self.newest - back) if back < 8 else 0
        expected = sorted(
            (revision, name)
            for name, revision in self.changed.items()
            if revision > since and name.startswith(prefix)
        )
        up_to = self.newest
        if len(expected) >= limit:
            up_to = expected[limit - 1][0]
        if len(expected) > limit:
            last = expected[limit - 1][0]
            expected = [each for each in expected if each[0] <= last]
        found, reached, now = self.engine.changes(prefix, since, limit, WITHIN)
        assert up_to <= reached <= self.newest
        assert [each.revision for each in found] == [revision for revision, _ in expected]
        assert {each.name: each._replace(expires=None) for each in found} == {
            name: Change(name, self.rows[name].value if name in self.rows else None, revision)
            for revision, name in expected
        }
        for each in found:
            if each.value is None:
                assert now < each.expires <= now + REMEMBERED + 1
            else:
                assert each.expires is None or now < each.expires <= now + HOUR + 1

    @rule()
    def is_opened_again(self) -> None:
        self.state.close()
        self.state = open_state(self.url)

    @invariant()
    def knows_its_newest_revision(self) -> None:
        assert self.engine.revision(WITHIN) == self.newest

    def teardown(self) -> None:
        self.state.close()


@pytest.mark.parametrize("engine", ["sqlite", "valkey"])
def test_an_engine_does_what_a_dict_does(engine, tmp_path: Path, request):
    numbers = count()

    def machine() -> EngineBesideADict:
        if engine == "valkey":
            return EngineBesideADict(request.getfixturevalue("shared_valkey").url())
        return EngineBesideADict(f"sqlite:///{tmp_path / f'{next(numbers)}.db'}?synchronous=normal")

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_row_is_gone_at_its_time_by_the_clock_of_the_store(state):
    engine = state.engine
    before = engine.read([], WITHIN).now
    engine.commit({}, {"row": Write(b"value", 0.1)}, WITHIN)
    while True:
        (row,), now = engine.read(["row"], WITHIN)
        if row is None:
            break
    assert before + 0.1 <= now


def test_a_row_that_has_expired_has_no_revision_to_be_checked(state):
    engine = state.engine
    engine.commit({}, {"row": Write(b"value", 0.01)}, WITHIN)
    while engine.read(["row"], WITHIN).rows != [None]:
        pass
    assert engine.commit({"row": 0}, {"row": Write(b"new")}, WITHIN) > 0


def test_the_rows_that_are_read_together_are_of_one_moment(state):
    engine, done = state.engine, threading.Event()

    def write() -> None:
        for number in range(200):
            value = Write(str(number).encode())
            engine.commit({}, {"left": value, "right": value}, WITHIN)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        left, right = engine.read(["left", "right"], WITHIN).rows
        assert left == right
    thread.join()


def test_what_has_expired_is_cleared_away(tmp_path, opened):
    state = opened(f"sqlite:///{tmp_path / 'state.db'}?synchronous=normal")
    for _ in range(300):
        state.engine.commit({}, {f"row/{os.urandom(4).hex()}": Write(b"", 0.001)}, WITHIN)
    for _ in range(600):
        state.engine.commit({}, {"one": Write(b"")}, WITHIN)
    rows = state.engine._engine._reader.execute("SELECT count(*) FROM rows").fetchone()[0]
    assert rows < 300


def test_what_has_expired_is_cleared_away_at_a_server(shared_valkey, opened):
    url = shared_valkey.url()
    state = opened(url)
    for number in range(50):
        state.engine.commit({}, {f"row/{number}": Write(b"", 0.001)}, WITHIN)
    prefix = url.partition("prefix=")[2]

    def only_one_is_kept() -> bool:
        state.engine.commit({}, {"one": Write(b"")}, WITHIN)
        rows, changed = f"{{{prefix}}}:rows", f"{{{prefix}}}:changed"
        return (shared_valkey.ask("HLEN", rows), shared_valkey.ask("ZCARD", changed)) == (1, 1)

    eventually(only_one_is_kept)


def test_a_store_that_is_not_to_be_made_is_missing(tmp_path):
    path = tmp_path / "none.db"
    with pytest.raises(Missing, match=rf"there is no state store {path}"):
        open_state(f"sqlite:///{path}", create=False)
    assert list(tmp_path.iterdir()) == []
    path.touch()
    with pytest.raises(Missing, match="it lacks the tables"):
        open_state(f"sqlite:///{path}", create=False)
    assert path.read_bytes() == b""
    with open_state(f"sqlite:///{path}") as state:
        state.put("a", 1)
    with open_state(f"sqlite:///{path}", create=False) as state:
        assert state.get("a") == 1


@pytest.mark.parametrize(
    "url", ["sqlite:///:memory:", "sqlite:///%3Amemory%3A", "sqlite:///:memory:?synchronous=normal"]
)
def test_a_store_in_memory_is_refused_at_once(url):
    with pytest.raises(UsageError, match=r"is not a file: use sqlite:///file\.db, or memory://"):
        open_state(url)
