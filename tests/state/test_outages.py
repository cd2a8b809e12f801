"""Stores that are down, silent or locked: an honest error within the operation's time, nothing done
by half, and then on as before.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import contextmanager

import pytest
from processes import eventually
from ringback import errors
from ringback.state import access
from ringback.state.engines.base import Conflict, Write
from stores import call_with

# What a call has left, and what then is too late: well below the 5 s that an operation has without
# a deadline.
LEFT, LATE = 0.3, 1.8


@contextmanager
def in_time():
    """Within a call that has `LEFT` seconds."""
    begun = time.monotonic()
    with call_with(LEFT):
        yield
    assert time.monotonic() - begun < LATE


@contextmanager
def unavailable(*, started):
    with pytest.raises(errors.Unavailable) as caught:
        yield
    assert caught.value.started is started


@pytest.fixture
def state(valkey, opened):
    """Of a server that may be stopped; it has been used."""
    state = opened(valkey.url())
    state.put("key", "old")
    return state


@pytest.fixture
def unused(valkey, opened):
    """One without a connection yet."""
    return opened(valkey.url())


@pytest.fixture
def silent(valkey):
    valkey.stop()
    yield valkey
    valkey.go_on()


# A server that is down


def test_a_read_from_a_server_that_is_down_is_unavailable(state, valkey):
    valkey.kill()
    with in_time(), unavailable(started=False):
        state.get("key")


def test_a_write_to_a_server_that_is_down_has_surely_not_been_done(state, valkey):
    valkey.kill()
    with in_time(), unavailable(started=False):
        state.put("key", "new")


def test_a_lock_of_a_server_that_is_down_is_unavailable(state, valkey):
    valkey.kill()
    with in_time(), unavailable(started=False):
        state.lock("lock").acquire()


def test_a_watch_of_a_server_that_goes_down_is_unavailable(state, valkey):
    watch = state.watch()
    valkey.kill()
    with unavailable(started=False):
        next(watch)


def test_a_server_that_was_started_again_is_used_without_an_error(state, valkey):
    valkey.kill()
    valkey.start()
    assert state.put("key", "new") > 0


def test_a_server_that_comes_up_later_is_used_then(state, valkey):
    valkey.kill()
    with unavailable(started=False):
        state.put("key", "new")
    valkey.start()
    state.put("key", "new")
    assert state.get("key") == "new"


def test_a_server_is_used_again_after_hundreds_of_operations_that_failed(state, valkey):
    valkey.kill()
    for _ in range(300):
        with unavailable(started=False):
            state.get("key")
    valkey.start()
    assert state.get("key") == "old"


def test_many_threads_come_through_a_restart(state, valkey):
    done, down = [], threading.Event()

    def write(number):
        value = 0
        while not down.is_set() or value < 20:
            try:
                state.put(f"key/{number}", value)
            except errors.Unavailable:
                continue
            value += 1
        done.append(state.get(f"key/{number}") == value - 1)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    valkey.kill()
    valkey.start()
    down.set()
    for each in threads:
        each.join()
    assert done == [True] * 4


# A server that is silent


def test_a_read_from_a_silent_server_ends_with_the_call(state, silent):
    with in_time(), unavailable(started=False):
        state.get("key")


def test_a_write_to_a_silent_server_ends_with_the_call_and_may_have_been_done(state, silent):
    with in_time(), unavailable(started=None):
        state.put("key", "new")


def test_a_large_write_to_a_silent_server_ends_with_the_call(state, silent):
    with in_time(), unavailable(started=None):
        state.put("key", bytes(16_000_000))


def test_a_write_on_a_new_connection_to_a_silent_server_has_surely_not_been_done(unused, silent):
    with in_time(), unavailable(started=False):
        unused.put("key", "new")


def test_a_lock_of_a_silent_server_ends_with_the_call(state, silent):
    with in_time(), unavailable(started=False):
        state.lock("lock").acquire()


def test_without_a_deadline_an_operation_has_the_patience_of_the_store(state, silent, monkeypatch):
    monkeypatch.setattr(access, "PATIENCE", LEFT)
    with unavailable(started=False):
        state.get("key")


def test_a_call_whose_time_is_over_asks_nothing(state):
    with (
        call_with(-1),
        pytest.raises(errors.DeadlineExceeded, match="before the state store was accessed"),
    ):
        state.put("key", "new")
    assert state.get("key") == "old"


def test_a_coroutine_s_operation_ends_with_its_call_too(state, silent):
    async def main():
        with in_time(), unavailable(started=False):
            await state.aio.get("key")

    asyncio.run(main())


def test_what_a_silent_server_was_told_is_done_whole_or_not_at_all(state, valkey):
    valkey.stop()
    tx = state.transaction()
    tx.put("a", 1)
    tx.put("b", 1)
    with call_with(LEFT), unavailable(started=None):
        tx.commit()
    valkey.go_on()
    state.put("key", "new")  # on another connection, after it
    assert (state.get("a"), state.get("b")) in ((1, 1), (None, None))


def test_the_answer_that_came_too_late_is_not_taken_for_another(state, valkey):
    valkey.stop()
    with call_with(LEFT), unavailable(started=False):
        state.get("key")
    valkey.go_on()
    assert (state.get("none"), state.get("key")) == (None, "old")


def test_a_lock_outlives_a_silence_shorter_than_its_lease(state, valkey):
    with state.lock("lock", lease=3.0) as lock:
        valkey.stop()
        with call_with(LEFT), unavailable(started=False):
            state.get("key")
        valkey.go_on()
        before = state.version()
        eventually(lambda: state.version() > before)  # renewed
        assert lock.held


def test_a_lock_that_could_not_be_renewed_is_lost(state, valkey):
    lock = state.lock("lock", lease=0.5)
    lock.acquire()
    valkey.stop()
    eventually(lambda: not lock.held)
    valkey.go_on()
    with pytest.raises(errors.FailedPrecondition):
        state.put("key", "new", fence=lock)


def test_a_lock_whose_grant_was_not_told_is_got_by_the_same_at_the_next_try(state, monkeypatch):
    lock, commit = state.lock("lock", lease=60), state.engine.commit

    def unheard(*args, **kwargs):
        commit(*args, **kwargs)
        monkeypatch.undo()
        raise errors.Unavailable("the answer was lost", started=None)

    monkeypatch.setattr(state.engine, "commit", unheard)
    with unavailable(started=None):
        lock.acquire()
    assert lock.acquire(timeout=0)


def test_a_server_that_refuses_to_write_has_surely_not_written(state, valkey):
    valkey.ask("CONFIG", "SET", "maxmemory", "1")
    with unavailable(started=False):
        state.put("key", "new")
    valkey.ask("CONFIG", "SET", "maxmemory", "0")
    assert state.get("key") == "old"


# A file that another process has locked


@pytest.fixture
def file(tmp_path, opened):
    state = opened(f"sqlite:///{tmp_path / 'state.db'}")
    state.put("key", "old")
    return state


@pytest.fixture
def other(tmp_path, file):
    """A connection in a transaction that writes."""
    with sqlite3.connect(
        tmp_path / "state.db", isolation_level=None, check_same_thread=False
    ) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    connection.close()


def test_a_write_to_a_locked_file_ends_with_the_call_and_has_surely_not_been_done(file, other):
    with in_time(), unavailable(started=False):
        file.put("key", "new")


def test_a_locked_file_can_be_read(file, other):
    assert file.get("key") == "old"


def test_a_lock_in_a_locked_file_ends_with_the_call(file, other):
    with in_time(), unavailable(started=False):
        file.lock("lock").acquire()


def test_a_write_waits_for_a_file_that_is_locked_for_a_moment(file, other):
    thread = threading.Timer(0.1, other.execute, ["ROLLBACK"])
    thread.start()
    file.put("key", "new")
    thread.join()
    assert file.get("key") == "new"


def test_a_file_that_was_locked_for_too_long_is_used_again_afterwards(file, other):
    with call_with(LEFT), unavailable(started=False):
        file.put("key", "new")
    other.execute("ROLLBACK")
    file.put("key", "newer")
    assert file.get("key") == "newer"


def test_each_of_many_threads_at_a_locked_file_gets_its_own_outcome_in_time(file, other):
    outcomes = []

    def write(number):
        try:
            with in_time():
                file.put(f"key/{number}", number)
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    other.execute("ROLLBACK")
    assert [type(each) for each in outcomes] == [errors.Unavailable] * 8
    # and what was said not to have been done is not done later
    assert [each.started for each in outcomes] == [False] * 8
    file.put("key", "new")
    assert file.changes("key/") == []


def test_who_has_more_time_is_not_failed_by_who_has_less(file, other):
    failed = threading.Event()

    def write_soon():
        with call_with(0.1), pytest.raises(errors.Unavailable):
            file.put("soon", 1)
        failed.set()

    def write_later():
        file.put("later", 1)

    threads = [threading.Thread(target=each) for each in (write_soon, write_later)]
    for each in threads:
        each.start()
    failed.wait()
    other.execute("ROLLBACK")
    for each in threads:
        each.join()
    assert (file.get("soon"), file.get("later")) == (None, 1)


def test_a_full_disk_fails_a_write_and_leaves_the_store_whole(file):
    engine = file.engine._engine
    pages = engine._writer.execute("PRAGMA page_count").fetchone()[0]
    engine._writer.execute(f"PRAGMA max_page_count = {pages}")
    with unavailable(started=False):
        file.put("large", bytes(1_000_000))
    file.put("key", "new")
    assert (file.get("large"), file.get("key")) == (None, "new")


def test_what_cannot_be_committed_at_all_does_not_wedge_the_store(file):
    with pytest.raises(errors.Unavailable):
        file.engine.commit({}, {"\ud800": Write(b"")}, 5.0)
    file.put("key", "new")
    assert file.get("key") == "new"


def test_a_conflict_beside_others_in_one_commit_harms_none_of_them(file, other):
    outcomes = {}

    def write(number):
        try:
            outcomes[number] = file.engine.commit(
                {"d:key": 0} if number % 2 else {}, {f"d:key/{number}": Write(b"\x01")}, 5.0
            )
        except Conflict:
            outcomes[number] = None

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    engine = file.engine._engine
    eventually(lambda: len(engine._pending) == 8)
    other.execute("ROLLBACK")
    for each in threads:
        each.join()
    done = {number for number, revision in outcomes.items() if revision is not None}
    assert done == {0, 2, 4, 6}
    assert {each.key for each in file.changes("key/")} == {f"key/{number}" for number in done}
