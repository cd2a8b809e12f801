"""The engine of a replica: it has what its store had at one moment, up to the version that it says
it has reached, and waits for nobody.
"""

from __future__ import annotations

import os
import threading
import time
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from processes import SOON, eventually
from ringback import errors
from ringback.state import open_state
from ringback.state.engines import replica
from ringback.state.engines.base import Change, Write
from ringback.state.engines.replica import ReplicaEngine
from ringback.state.store import State

WITHIN = 10.0
NAMES = ("d:a", "d:b", "d:c", "d:\U0001f600", "d:a\0", "l:a")
BRIEF = "d:brief"


def following(state: State) -> State:
    """A replica of that store, which has read all that there was."""
    engine, begun, failed = ReplicaEngine(state.engine), threading.Event(), []

    def ready(error: BaseException | None) -> None:
        failed.append(error)
        begun.set()

    engine.start(ready)
    assert begun.wait(SOON)
    if failed[0] is not None:
        engine.close()
        raise failed[0]
    return State(engine, state.url)


@pytest.fixture
def follow():
    """`follow(state)`: a replica that ends with the test."""
    made: list[State] = []

    def make(state: State) -> State:
        made.append(following(state))
        return made[-1]

    yield make
    for each in made:
        each.close()


def caught_up(copy: State, version: int) -> None:
    reached = threading.Event()
    copy.engine.when_reached(version, reached.set)
    assert reached.wait(SOON)
    assert copy.reached >= version


# What is there


def test_what_was_there_before_is_there_at_the_start(state, follow):
    versions = [state.put(f"key/{number}", number) for number in range(3)]
    copy = follow(state)
    assert [copy.read(f"key/{number}") for number in range(3)] == list(
        zip(range(3), versions, strict=True)
    )
    assert copy.reached == copy.version() == versions[-1]


def test_more_than_is_told_in_one_step_is_there_at_the_start(state, follow):
    for part in range(5):
        with state.transaction() as tx:
            for number in range(600):
                tx.put(f"{part}/{number}", number)
    copy = follow(state)
    assert all(copy.get(f"{part}/{number}") == number for part in range(5) for number in range(600))


def test_what_is_written_and_removed_later_comes(state, follow):
    state.put("old", 1)
    copy = follow(state)
    state.put("new", 2)
    caught_up(copy, state.delete("old"))
    assert (copy.get("old"), copy.get("new")) == (None, 2)


def test_an_empty_store_is_followed_too(state, follow):
    copy = follow(state)
    assert (copy.get("key"), copy.reached) == (None, 0)


def test_a_commit_without_data_is_reached_as_well(state, follow):
    copy = follow(state)
    with state.lock("name") as lock:
        caught_up(copy, lock.token)


def test_who_waits_is_called_at_once_where_the_version_is_reached(state, follow):
    version, called = state.put("key", 1), []
    follow(state).engine.when_reached(version, lambda: called.append(True))
    assert called


def test_who_waits_no_more_is_not_called(state, follow):
    copy, called, both = follow(state), [], threading.Event()
    number = copy.engine.when_reached(state.version() + 1, lambda: called.append(True))
    copy.engine.call_off(number)
    copy.engine.when_reached(state.version() + 1, both.set)
    state.put("key", 1)
    assert both.wait(SOON)
    assert not called


def test_a_replica_watches(state, follow):
    copy = follow(state)
    before = copy.reached
    version = state.put("news/1", "first")
    state.put("other", 1)
    changes = copy.watch("news/", since=before)
    assert next(changes) == ("news/1", "first", version, False)
    removed = state.delete("news/1")
    assert next(changes) == ("news/1", None, removed, True)


def test_what_has_changed_is_told_in_parts_of_whole_commits(state, follow):
    first = state.put("a", 1)
    with state.transaction() as tx:
        for name in "bcd":
            tx.put(name, 2)
    last = state.put("e", 3)
    copy = follow(state)
    found, reached, _ = copy.engine.changes("d:", 0, 2, WITHIN)
    assert ([each.name for each in found], reached) == (["d:a", "d:b", "d:c", "d:d"], tx.version)
    found, reached, _ = copy.engine.changes("d:", first, 9, WITHIN)
    assert (sorted(each.name for each in found), reached) == (["d:b", "d:c", "d:d", "d:e"], last)


# It only reads


@pytest.mark.parametrize(
    "write",
    [
        lambda copy: copy.put("key", 2),
        lambda copy: copy.delete("key"),
        lambda copy: copy.update("key", lambda value: value + 1),
        lambda copy: copy.lock("name").acquire(),
    ],
    ids=["put", "delete", "update", "lock"],
)
def test_what_would_change_something_is_refused(state, follow, write):
    state.put("key", 1)
    copy = follow(state)
    with pytest.raises(errors.FailedPrecondition, match="replica"):
        write(copy)
    assert state.get("key") == 1


def test_a_transaction_that_only_reads_is_whole(state, follow):
    state.put("a", 1)
    copy = follow(state)
    with copy.transaction() as tx:
        assert (tx.get("a"), tx.get("b")) == (1, None)
    assert tx.version == copy.reached


def test_a_transaction_that_was_overtaken_is_aborted(state, follow):
    state.put("a", 1)
    copy = follow(state)
    tx = copy.transaction()
    assert tx.get("a") == 1
    caught_up(copy, state.put("a", 2))
    with pytest.raises(errors.Aborted):
        tx.commit()


# Time to live


def test_what_has_expired_is_gone_though_nothing_tells_of_it(state, follow):
    state.put("short", 1, ttl=0.2)
    copy = follow(state)
    state.put("later", 1, ttl=0.2)
    eventually(lambda: copy.get("later") == 1 or state.get("later") is None)
    eventually(lambda: (copy.get("short"), copy.get("later")) == (None, None))
    assert state.get("short") is None


def test_what_is_renewed_is_never_gone(state, follow):
    state.put("lease", 0, ttl=0.5)
    copy = follow(state)
    end, missing = time.monotonic() + 1.5, []
    renewed = threading.Event()

    def renew() -> None:
        while time.monotonic() < end:
            state.put("lease", 1, ttl=0.5)
            time.sleep(0.02)
        renewed.set()

    thread = threading.Thread(target=renew)
    thread.start()
    while not renewed.is_set():
        if copy.get("lease") is None and state.get("lease") is not None:
            missing.append(time.monotonic())
        time.sleep(0.001)
    thread.join()
    assert not missing


def test_what_has_expired_is_cleared_away(state, follow, monkeypatch):
    monkeypatch.setattr(replica, "_SWEPT", 0.0)
    copy = follow(state)
    for number in range(20):
        state.put(f"key/{number}", 0, ttl=0.01)
    state.put("one", 1)
    eventually(lambda: list(copy.engine._rows._rows) == ["d:one"])


# Whole, and of one moment


def test_what_was_committed_together_is_seen_together(state, follow):
    copy, done = follow(state), threading.Event()
    names = [f"d:{number}" for number in range(10)]

    def write() -> None:
        for number in range(60):
            value = Write(str(number).encode())
            state.engine.commit({}, dict.fromkeys(names, value), WITHIN)
            state.engine.commit({}, {names[number % 10]: value}, WITHIN)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    newest = 0
    while not done.is_set():
        rows = copy.engine.read(names, WITHIN).rows
        assert len({None if row is None else row.value for row in rows}) == 1
        assert newest <= copy.reached
        newest = copy.reached
        time.sleep(0.0005)  # let the others have the interpreter
    thread.join()
    caught_up(copy, state.version())
    assert copy.engine.read(names, WITHIN).rows == state.engine.read(names, WITHIN).rows


lasting = st.builds(Write, st.none() | st.binary(max_size=4), st.none() | st.just(3600.0))
brief = st.builds(Write, st.binary(max_size=4), st.sampled_from([0.001, 0.02]))
commits = st.dictionaries(st.sampled_from(NAMES), lasting, max_size=5)


class ReplicaBesideItsStore(RuleBasedStateMachine):
    """Whatever is committed: at each version a replica has what its store has; what is brief may be
    there a moment longer.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.state = open_state(url)
        self.copies = [following(self.state)]

    @rule(made=st.lists(commits, min_size=1, max_size=4), beside=st.none() | brief)
    def commits_are_followed(self, made: list[dict[str, Write]], beside: Write | None) -> None:
        for each in made:
            self.state.engine.commit(
                {}, {**each} if beside is None else {**each, BRIEF: beside}, WITHIN
            )
        self.all_have_the_same()

    @rule(since=st.integers(0, 5), limit=st.integers(1, 4))
    def the_same_changes_are_told(self, since: int, limit: int) -> None:
        self.all_have_the_same()
        known = self.state.engine.changes("d:", 0, 100, WITHIN).found
        start = known[since - 1].revision if 0 < since <= len(known) else 0
        expected = told(self.state, start, limit)
        assert [told(copy, start, limit) for copy in self.copies] == [expected] * len(self.copies)

    @rule()
    def another_begins(self) -> None:
        if len(self.copies) < 3:
            self.copies.append(following(self.state))

    def all_have_the_same(self) -> None:
        version, names = self.state.version(), [name for name in NAMES if name.startswith("d:")]
        for copy in self.copies:
            caught_up(copy, version)
            assert copy.reached == version
            assert (
                copy.engine.read(names, WITHIN).rows == self.state.engine.read(names, WITHIN).rows
            )
            eventually(lambda copy=copy: copy.engine.read([BRIEF], WITHIN).rows == [None])

    def teardown(self) -> None:
        for copy in self.copies:
            copy.close()
        self.state.close()


def told(state: State, since: int, limit: int) -> list[set[Change]]:
    """All that has changed since, in steps."""
    steps = []
    while True:
        found, since, _ = state.engine.changes("d:", since, limit, WITHIN)
        assert found == sorted(found, key=lambda each: each.revision)
        if not found:
            return steps
        steps.append(set(found))
        if len(found) < limit:
            return steps


@pytest.mark.parametrize("engine", ["sqlite", "valkey"])
def test_a_replica_has_what_its_store_has(engine, tmp_path: Path, request):
    numbers = count()

    def machine() -> ReplicaBesideItsStore:
        if engine == "valkey":
            return ReplicaBesideItsStore(request.getfixturevalue("shared_valkey").url())
        return ReplicaBesideItsStore(
            f"sqlite:///{tmp_path / f'{next(numbers)}.db'}?synchronous=normal"
        )

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# A store that is away


def test_a_store_that_does_not_answer_keeps_a_replica_from_its_start(valkey, opened, monkeypatch):
    monkeypatch.setattr(replica, "START", 0.3)
    state = opened(valkey.url())
    valkey.kill()
    with pytest.raises(errors.Unavailable):
        following(state)


def test_a_replica_goes_on_while_its_store_is_away_and_then_follows_again(
    valkey, opened, follow, caplog
):
    state = opened(valkey.url())
    state.put("kept", 1)
    removed = state.put("removed", 1)
    copy = follow(state)
    valkey.kill()
    eventually(lambda: "serving version" in caplog.text)
    assert (copy.get("kept"), copy.get("removed"), copy.reached) == (1, 1, removed)
    valkey.start()
    caught_up(copy, state.delete("removed"))
    assert (copy.get("kept"), copy.get("removed")) == (1, None)
    assert caplog.text.count("serving version") == 1


def test_after_an_outage_all_is_read_anew(valkey, opened, follow, caplog):
    url = valkey.url()
    state = opened(url)
    state.put("forgotten", 1)
    copy = follow(state)
    prefix = url.partition("prefix=")[2]
    valkey.stop()
    eventually(lambda: copy.engine._away)
    valkey.go_on()
    valkey.ask("HDEL", f"{{{prefix}}}:rows", "d:forgotten")
    valkey.ask("ZREM", f"{{{prefix}}}:changed", "d:forgotten")
    eventually(lambda: copy.get("forgotten") is None)


def test_who_was_stopped_for_longer_than_removals_are_remembered_reads_all_anew(
    tmp_path, opened, follow
):
    state = opened(f"sqlite:///{tmp_path / 'state.db'}")
    state.put("key", 1)
    copy = follow(state)
    state.engine._engine._writer.execute(
        "DELETE FROM rows"
    )  # as what was removed and then forgotten
    assert copy.get("key") == 1
    copy.engine._now -= 86_400
    eventually(lambda: copy.get("key") is None)


def test_what_has_a_time_to_live_does_not_outlive_it_for_long_while_the_store_is_away(
    valkey, opened, follow
):
    state = opened(valkey.url())
    state.put("session", 1, ttl=0.5)
    copy = follow(state)
    valkey.kill()
    eventually(lambda: copy.get("session") is None)


# What a state has seen


def test_a_state_has_seen_what_it_wrote_and_what_it_read(url, opened):
    state, other = opened(url), opened(url)
    assert state.reached == 0
    version = state.put("key", 1)
    assert (state.reached, other.reached) == (version, 0)
    assert other.get("key") == 1
    assert other.reached == version
    later = other.transact(lambda tx: tx.put("key", tx.get("key") + 1) or 0)
    assert (later, other.reached > version) == (0, True)
    with state.transaction() as tx:
        tx.get("key")
        assert state.reached == other.reached
    state.update("key", lambda value: value + 1)
    assert state.reached == state.read("key").version
    assert state.reached < state.delete("key") == state.reached


def test_many_threads_lose_no_version(url, opened):
    state, newest = opened(url), []

    def write() -> None:
        for _ in range(20):
            version = state.put(os.urandom(4).hex(), 1)
            assert state.reached >= version
            newest.append(version)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.reached == max(newest)
