"""Versioned data, transactions and what has changed, on both engines."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import threading
from urllib.parse import quote

import pytest
from processes import eventually
from ringback import errors
from ringback.state import Changed, open_state
from sizes import FULL, size
from stores import call_with

THREADS = 8


def in_threads(function, count=THREADS):
    """Call it in so many threads at once; raises what one of them has raised."""
    failures = []
    together = threading.Barrier(count)

    def run(number):
        try:
            together.wait()
            function(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failures:
        raise failures[0]


def told(state, *changes, deleted=False):
    return [Changed(key, value, version, deleted) for key, value, version in changes]


# Values and versions


def test_what_was_put_is_got(state):
    state.put("key", {"list": [1, 2.5, None, True], "bytes": b"\0\xff", "text": "ü\0"})
    assert state.get("key") == {"list": [1, 2.5, None, True], "bytes": b"\0\xff", "text": "ü\0"}


def test_what_is_not_there_is_the_default(state):
    assert state.get("key", "default") == "default"


def test_none_is_a_value_and_not_the_default(state):
    state.put("key", None)
    assert state.get("key", "default") is None


def test_what_is_not_there_has_version_0(state):
    assert state.read("key") == (None, 0)


def test_a_value_is_read_with_the_version_that_put_returned(state):
    version = state.put("key", "value")
    assert state.read("key") == ("value", version)


def test_each_change_has_a_higher_version_than_the_one_before(state):
    versions = [
        state.put("a", 1),
        state.put("b", 1),
        state.delete("a"),
        state.put("a", 1),
        state.delete("none"),
    ]
    assert versions == sorted(set(versions))


def test_the_version_of_the_store_is_that_of_the_newest_change(state):
    state.put("a", 1)
    assert state.put("b", 1) == state.version()


def test_an_empty_store_has_version_0(state):
    assert state.version() == 0


@pytest.mark.lasting
def test_versions_go_on_rising_when_the_store_is_opened_again(url, opened):
    first = opened(url)
    before = first.put("key", 1)
    first.close()
    assert opened(url).put("key", 2) > before


def test_versions_go_on_rising_when_a_valkey_server_has_lost_all(valkey, opened):
    state = opened(valkey.url())
    before = state.put("key", 1)
    valkey.ask("FLUSHALL")
    assert state.put("key", 2) > before


def test_a_removed_key_is_not_there(state):
    state.put("key", 1)
    state.delete("key")
    assert state.read("key") == (None, 0)


def test_put_with_the_version_that_it_has_is_done(state):
    version = state.put("key", 1)
    state.put("key", 2, version=version)
    assert state.get("key") == 2


def test_put_with_an_old_version_is_aborted_and_changes_nothing(state):
    old = state.put("key", 1)
    new = state.put("key", 2)
    with pytest.raises(errors.Aborted, match="'key' has changed"):
        state.put("key", 3, version=old)
    assert state.read("key") == (2, new)


def test_put_with_version_0_is_done_where_there_is_none(state):
    state.put("key", 1, version=0)
    assert state.get("key") == 1


def test_put_with_version_0_is_aborted_where_there_is_one(state):
    state.put("key", 1)
    with pytest.raises(errors.Aborted):
        state.put("key", 2, version=0)


def test_version_0_is_that_of_a_removed_key_too(state):
    state.put("key", 1)
    state.delete("key")
    state.put("key", 2, version=0)
    assert state.get("key") == 2


def test_the_version_from_before_a_removal_does_not_come_back(state):
    version = state.put("key", 1)
    state.delete("key")
    state.put("key", 1)
    with pytest.raises(errors.Aborted):
        state.put("key", 2, version=version)


def test_delete_with_an_old_version_is_aborted(state):
    old = state.put("key", 1)
    state.put("key", 2)
    with pytest.raises(errors.Aborted):
        state.delete("key", version=old)
    assert state.get("key") == 2


def test_delete_with_the_version_that_it_has_is_done(state):
    state.delete("key", version=state.put("key", 1))
    assert state.get("key") is None


# Keys and values that are none


@pytest.mark.parametrize("key", ["", "k" * 1025, "ü" * 513, "\ud800", 5, None, b"key"], ids=repr)
def test_what_is_no_key_is_an_invalid_argument(state, key):
    with pytest.raises(errors.InvalidArgument, match="a key must be a string of 1 to 1024 bytes"):
        state.put(key, 1)


@pytest.mark.parametrize(
    "key", ["k" * 1024, "ü" * 512, "a\0b", "a/b c:*?[x]%_{}", "\U0001f600", "'\"\n"], ids=ascii
)
def test_any_other_string_is_a_key(state, key):
    version = state.put(key, 1)
    assert state.changes() == told(state, (key, 1, version))


@pytest.mark.parametrize(
    "value", [object(), 1 << 64, "\ud800", {"deep": [object()]}, len], ids=ascii
)
def test_a_value_that_messagepack_has_not_is_an_invalid_argument(state, value):
    with pytest.raises(errors.InvalidArgument, match="'key' cannot be stored"):
        state.put("key", value)


def test_a_value_that_contains_itself_is_an_invalid_argument(state):
    value = []
    value.append(value)
    with pytest.raises(errors.InvalidArgument):
        state.put("key", value)


def test_a_value_over_the_limit_is_too_much(state):
    with pytest.raises(errors.ResourceExhausted, match="over the limit of 16,777,216"):
        state.put("key", bytes(16 * 1024 * 1024))


def test_a_value_of_the_limit_is_stored(state):
    value = bytes(16 * 1024 * 1024 - 5)
    state.put("key", value)
    assert state.get("key") == value


@pytest.mark.parametrize("version", [-1, 1.0, True, "1"], ids=repr)
def test_what_is_no_version_is_an_invalid_argument(state, version):
    with pytest.raises(errors.InvalidArgument, match="must be an int of 0 or more"):
        state.put("key", 1, version=version)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "1"], ids=repr)
def test_what_is_no_time_to_live_is_an_invalid_argument(state, ttl):
    with pytest.raises(errors.InvalidArgument, match="must be a number of seconds above 0"):
        state.put("key", 1, ttl=ttl)


# Time to live


def test_after_its_ttl_a_key_is_gone(state):
    state.put("key", 1, ttl=0.05)
    eventually(lambda: state.read("key") == (None, 0))


def test_a_key_with_a_ttl_is_there_before_that(state):
    state.put("key", 1, ttl=60)
    assert state.get("key") == 1


def test_a_key_whose_ttl_is_over_can_be_put_as_a_new_one(state):
    state.put("key", 1, ttl=0.01)
    eventually(lambda: state.get("key") is None)
    state.put("key", 2, version=0)
    assert state.get("key") == 2


def test_a_put_without_ttl_ends_that_of_the_one_before(state):
    state.put("key", 1, ttl=0.05)
    state.put("key", 2)
    state.put("other", 1, ttl=0.1)
    eventually(lambda: state.get("other") is None)
    assert state.get("key") == 2


# Transactions


def test_a_transaction_writes_all_under_one_version(state):
    with state.transaction() as tx:
        tx.put("a", 1)
        tx.put("b", 2)
    assert (state.read("a"), state.read("b")) == ((1, tx.version), (2, tx.version))


def test_before_its_end_a_transaction_has_written_nothing(state):
    with state.transaction() as tx:
        tx.put("a", 1)
        assert state.get("a") is None


def test_a_block_that_raises_writes_nothing(state):
    with contextlib.suppress(ZeroDivisionError), state.transaction() as tx:
        tx.put("a", 1)
        raise ZeroDivisionError
    assert state.get("a") is None


def test_a_transaction_that_was_overtaken_is_aborted_and_writes_nothing(state):
    tx = state.transaction()
    tx.get("read")
    tx.put("a", 1)
    tx.put("b", 1)
    state.put("read", "changed")
    with pytest.raises(errors.Aborted, match="'read' has changed"):
        tx.commit()
    assert (state.get("a"), state.get("b")) == (None, None)


def test_a_transaction_that_has_read_a_key_that_was_removed_since_is_aborted(state):
    state.put("read", 1)
    tx = state.transaction()
    tx.get("read")
    state.delete("read")
    with pytest.raises(errors.Aborted):
        tx.commit()


def test_what_was_not_read_may_change_meanwhile(state):
    with state.transaction() as tx:
        tx.get("read")
        tx.put("a", 1)
        state.put("other", 1)
    assert state.get("a") == 1


def test_a_transaction_reads_what_it_has_written(state):
    state.put("a", "old")
    with state.transaction() as tx:
        tx.put("a", "new")
        assert tx.get("a") == "new"


def test_a_transaction_does_not_read_what_it_has_removed(state):
    state.put("a", "old")
    with state.transaction() as tx:
        tx.delete("a")
        assert tx.get("a", "default") == "default"


def test_a_transaction_reads_the_same_twice(state):
    state.put("a", 1)
    tx = state.transaction()
    tx.get("a")
    state.put("a", 2)
    assert tx.get("a") == 1


def test_the_last_write_of_a_transaction_counts(state):
    with state.transaction() as tx:
        tx.put("a", 1)
        tx.delete("a")
        tx.put("a", 2)
    assert state.get("a") == 2


def test_expect_aborts_where_the_version_is_another(state):
    version = state.put("a", 1)
    tx = state.transaction()
    tx.expect("a", version + 1)
    tx.put("b", 1)
    with pytest.raises(errors.Aborted):
        tx.commit()
    assert state.get("b") is None


def test_a_transaction_of_hundreds_of_keys_is_one_step(state):
    with state.transaction() as tx:
        for number in range(500):
            tx.put(f"key/{number}", number)
    assert {change.version for change in state.changes("key/")} == {tx.version}


def test_transact_does_it_again_when_it_was_overtaken(state):
    tries = itertools.count(1)

    def step(tx):
        tx.get("a")
        number = next(tries)
        if number < 3:
            state.put("a", number)
        tx.put("b", number)
        return number

    assert (state.transact(step), state.get("b")) == (3, 3)


def test_transact_gives_up_when_its_time_is_over(state):
    def overtaken(tx):
        tx.get("a")
        state.put("a", 1)
        tx.put("b", 1)

    with pytest.raises(errors.Aborted):
        state.transact(overtaken, timeout=0.05)


def test_transact_gives_up_when_the_time_of_the_call_is_over(state):
    def overtaken(tx):
        tx.get("a")
        state.put("a", 1)
        tx.put("b", 1)

    # Whichever comes first: no time for another attempt, none for another step, or none for the
    # store to answer.
    with (
        pytest.raises((errors.Aborted, errors.DeadlineExceeded, errors.Unavailable)),
        call_with(0.2),
    ):
        state.transact(overtaken)


def test_what_the_function_raises_ends_transact_and_nothing_is_written(state):
    def fails(tx):
        tx.put("a", 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        state.transact(fails)
    assert state.get("a") is None


def test_updates_by_many_threads_lose_none(state):
    def add(_):
        for _ in range(25):
            state.update("sum", lambda value: value + 1, 0)

    in_threads(add)
    assert state.get("sum") == THREADS * 25


def test_what_many_threads_move_in_transactions_stays_the_same_in_all(state):
    for name in "abc":
        state.put(name, 100)

    def move(number):
        source, target = "abc"[number % 3], "abc"[(number + 1) % 3]

        def step(tx):
            tx.put(source, tx.get(source) - 1)
            tx.put(target, tx.get(target) + 1)

        for _ in range(10):
            state.transact(step)

    in_threads(move)
    assert sum(state.get(name) for name in "abc") == 300


# Fences (more in test_locks.py)


def test_a_transaction_with_the_fence_of_a_lock_that_is_held_is_done(state):
    with state.lock("lock") as lock, state.transaction() as tx:
        tx.fence(lock)
        tx.put("a", 1)
    assert state.get("a") == 1


def test_a_transaction_with_the_fence_of_a_lock_that_was_released_writes_nothing(state):
    with state.lock("lock") as lock:
        fence = lock.fence
    tx = state.transaction()
    tx.fence(fence)
    tx.put("a", 1)
    with pytest.raises(errors.FailedPrecondition, match="'lock' is no longer held with token"):
        tx.commit()
    assert state.get("a") is None


def test_a_transaction_with_two_fences_needs_both_locks(state):
    with state.lock("one") as one:
        with state.lock("two") as two:
            fences = [one.fence, two.fence]
        tx = state.transaction()
        for fence in fences:
            tx.fence(fence)
        tx.put("a", 1)
        with pytest.raises(errors.FailedPrecondition, match="'two'"):
            tx.commit()


def test_a_put_under_a_fence_and_with_an_old_version_is_aborted(state):
    state.put("a", 1)
    with state.lock("lock") as lock, pytest.raises(errors.Aborted):
        state.put("a", 2, fence=lock, version=0)


# What changes


def test_a_watch_begins_now(state):
    state.put("before", 1)
    watch = state.watch()
    version = state.put("after", 2)
    assert next(watch) == Changed("after", 2, version, False)


def test_a_watch_since_a_version_tells_what_came_after_it(state):
    since = state.put("a", 1)
    b, c = state.put("b", 2), state.put("c", 3)
    assert list(itertools.islice(state.watch(since=since), 2)) == told(
        state, ("b", 2, b), ("c", 3, c)
    )


def test_a_watch_tells_of_removals(state):
    state.put("a", 1)
    watch = state.watch()
    version = state.delete("a")
    assert next(watch) == Changed("a", None, version, True)


def test_a_watch_is_of_the_keys_that_begin_so(state):
    watch = state.watch("a/")
    state.put("b/1", 1)
    state.put("a", 1)
    version = state.put("a/1", 1)
    assert next(watch) == Changed("a/1", 1, version, False)


@pytest.mark.parametrize("prefix", ["a\0", "%", "_", "*", "[a]", "ü", "\U0001f600"], ids=ascii)
def test_a_prefix_is_taken_as_it_is(state, prefix):
    state.put("ab", 1)
    version = state.put(f"{prefix}b", 2)
    assert state.changes(prefix) == told(state, (f"{prefix}b", 2, version))


def test_locks_are_not_among_what_changes(state):
    with state.lock("lock"):
        pass
    assert state.changes() == []


def test_a_key_that_has_changed_twice_is_told_once_by_the_newest(state):
    state.put("a", 1)
    b, a = state.put("b", 1), state.put("a", 2)
    assert state.changes() == told(state, ("b", 1, b), ("a", 2, a))


def test_what_has_expired_is_not_told(state):
    state.put("a", 1, ttl=0.01)
    eventually(lambda: state.get("a") is None)
    assert state.changes() == []


def test_a_watch_misses_nothing_of_a_large_transaction(state):
    since = state.put("a", 0)
    with state.transaction() as tx:
        for number in range(1500):
            tx.put(f"b/{number}", number)
    state.put("c", 0)
    found = list(itertools.islice(state.watch(since=since), 1501))
    assert sorted(change.key for change in found) == sorted(
        ["c", *(f"b/{number}" for number in range(1500))]
    )


def test_a_watch_misses_nothing_of_what_many_threads_write(state):
    watch = state.watch("key/")

    def write(number):
        for each in range(20):
            state.put(f"key/{number}/{each}", each)

    in_threads(write)
    found = list(itertools.islice(watch, THREADS * 20))
    assert [change.version for change in found] == sorted(change.version for change in found)
    assert len({change.key for change in found}) == THREADS * 20


# asyncio


def test_coroutines_have_the_same(state):
    async def main():
        aio = state.aio
        version = await aio.put("a", 1)
        assert await aio.read("a") == (1, version)
        assert await aio.get("none", "default") == "default"
        with pytest.raises(errors.Aborted):
            await aio.put("a", 2, version=version + 1)
        assert await aio.update("a", lambda value: value + 1) == 2
        assert await aio.transact(lambda tx: tx.get("a")) == 2
        async with aio.transaction() as tx:
            assert await tx.aget("a") == 2
            tx.put("b", 3)
        assert await aio.version() == tx.version
        assert await aio.changes(since=tx.version - 1) == told(state, ("b", 3, tx.version))
        removed = await aio.delete("a", version=(await aio.read("a")).version)
        assert (await aio.version(), await aio.get("a")) == (removed, None)

    asyncio.run(main())


def test_an_asynchronous_block_that_was_overtaken_is_aborted(state):
    async def overtaken():
        async with state.aio.transaction() as tx:
            await tx.aget("a")
            tx.put("b", 1)
            await state.aio.put("a", 1)

    async def main():
        with pytest.raises(errors.Aborted):
            await overtaken()
        assert await state.aio.get("b") is None

    asyncio.run(main())


def test_coroutines_watch_since_a_version(state):
    async def main():
        since = await state.aio.put("a/1", 1)
        watch = state.aio.watch("a/", since=since)
        await state.aio.put("b/1", 1)
        version = await state.aio.put("a/2", 2)
        assert await anext(watch) == Changed("a/2", 2, version, False)
        following = asyncio.ensure_future(anext(watch))
        version = await state.aio.delete("a/2")
        assert await following == Changed("a/2", None, version, True)
        await watch.aclose()

    asyncio.run(main())


def test_a_watch_by_a_coroutine_does_not_tell_what_was_before(state):
    async def main():
        await state.aio.put("before", 1)
        watch = state.aio.watch()
        first = asyncio.ensure_future(anext(watch))
        for number in itertools.count():
            await state.aio.put("after", number)
            if first.done():
                break
        assert (await first).key == "after"
        await watch.aclose()

    asyncio.run(main())


def test_updates_by_many_coroutines_lose_none(state):
    async def main():
        await asyncio.gather(
            *(state.aio.update("sum", lambda value: value + 1, 0) for _ in range(50))
        )
        assert await state.aio.get("sum") == 50

    asyncio.run(main())


# Several processes


@pytest.mark.timeout(size(60, 900))
@pytest.mark.lasting
def test_read_modify_writes_by_many_processes_lose_none(url, state, client, capsys):
    count = size(50, 2500)
    clients = [client("add", url, count) for _ in range(8)]
    for each in clients:
        assert each.line() == "ready"
    for each in clients:
        each.process.stdin.write(b"\n")
        each.process.stdin.flush()
    assert [list(each.lines(size(60, 900))) for each in clients] == [[f"added {count}"]] * 8
    assert state.get("sum") == 8 * count
    if FULL:
        with capsys.disabled():
            print(
                f"\n{8 * count:,} read-modify-writes by 8 processes: the sum is "
                f"{state.get('sum'):,}"
            )


def test_many_processes_may_open_a_new_store_at_once(url, client):
    clients = [client("add", url, 0) for _ in range(8)]
    assert [each.line() for each in clients] == ["ready"] * 8


def test_what_one_process_writes_another_sees(url, state, client):
    holder = client("hold", url, "lock", 60)
    holder.line()
    version = int(holder.ask("put", "key", "value"))
    assert state.read("key") == ("value", version)


# Opening


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is not a state store"),
        ("shop.db", "is not a state store"),
        (None, "is not a state store"),
        ("mysql://host/db", "there is no state store 'mysql'"),
        ("sqlite://shop.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:////no/such/folder/shop.db", "cannot open the state store"),
        ("sqlite:////", "cannot open the state store"),
        ("sqlite:///shop.db?synchronous=off", "synchronous must be full or normal"),
        ("sqlite:///shop.db?fast=yes", "there is no option 'fast'"),
        ("valkey://host:port/0", "bad address of a state store"),
        ("valkey://host?database=3", "bad address of a state store"),
        ("redis://host?db=first", "bad address of a state store"),
    ],
)
def test_what_cannot_be_opened_says_why(url, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.UsageError, match=why):
        open_state(url)


def test_a_file_that_is_no_store_cannot_be_opened(tmp_path):
    (tmp_path / "text").write_text("no database at all, and longer than a header of one" * 100)
    with pytest.raises(errors.UsageError, match="cannot open the state store"):
        open_state(f"sqlite:///{tmp_path / 'text'}")


def test_a_file_with_a_strange_name_can_be_opened(tmp_path, opened):
    path = tmp_path / "a b?&%#ü.db"
    opened(f"sqlite:///{quote(str(path))}").put("key", 1)
    assert path.exists()


def test_a_valkey_server_is_reached_by_its_socket_file(shared_valkey, opened):
    state = opened(f"valkey+unix://{shared_valkey.socket}?prefix=by-socket")
    state.put("key", 1)
    assert state.get("key") == 1


def test_two_prefixes_are_two_stores(shared_valkey, opened):
    one, other = opened(shared_valkey.url()), opened(shared_valkey.url())
    one.put("key", 1)
    assert (other.get("key"), other.version()) == (None, 0)


def test_a_closed_store_is_unavailable(tmp_path, opened):
    state = opened(f"sqlite:///{tmp_path / 'state.db'}")
    state.close()
    with pytest.raises(errors.Unavailable):
        state.put("key", 1)


def test_a_store_that_was_opened_before_a_fork_says_so(state, url, run_program):
    program = f"""
import os, ringback
state = ringback.open_state({url!r})
state.put("a", 1)
if os.fork() == 0:
    try:
        state.get("a")
    except RuntimeError as error:
        print(error, flush=True)
    with ringback.open_state({url!r}) as own:
        print(own.get("a"), flush=True)
    os._exit(0)
os.wait()
print(state.get("a"))
"""
    ran = run_program("-c", program)
    assert ran.lines == [
        "this state was opened before a fork: open it again in the child process",
        "1",
        "1",
    ], ran


def test_loops_that_ended_with_an_operation_under_way_leave_the_threads_free(state):
    for _ in range(40):
        loop = asyncio.new_event_loop()
        loop.call_soon(loop.stop)
        task = loop.create_task(state.aio.get("a"))
        loop.run_forever()
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()

    async def main():
        return await asyncio.wait_for(state.aio.get("a", 5), 5.0)

    assert asyncio.run(main()) == 5


def test_what_has_expired_is_removed_as_fast_as_it_comes(opened, tmp_path):
    file = opened(f"sqlite:///{tmp_path / 'expiring.db'}")
    for number in range(1200):
        file.put(f"{number}", number, ttl=0.001)
    with sqlite3.connect(tmp_path / "expiring.db") as connection:
        assert connection.execute("SELECT count(*) FROM rows").fetchone()[0] < 600
