"""Locks: one holder, in the order of asking, and nothing accepted from whoever holds one no longer.
Holders that are stopped or killed
are real processes."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import time

import msgspec
import pytest
from processes import SOON, eventually
from ringback import errors
from ringback.state import Fence
from ringback.state.engines.base import Write
from sizes import FULL, size
from stores import call_with

LONG = size(60, 1500)


def waiting(state, name="lock"):
    """How many have a place in the line for a lock."""
    (queue,), _ = state.engine.read([f"w:{name}"], 5.0)
    return 0 if queue is None else len(msgspec.msgpack.decode(queue.value))


def held_by(state, name="lock"):
    """The token of whoever has a lock, as the store says; 0 where nobody has asked for it since it
    was released.
    """
    (row,), _ = state.engine.read([f"l:{name}"], 5.0)
    return 0 if row is None else msgspec.msgpack.decode(row.value)[3] or row.revision


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


# One holder


def test_a_lock_is_held_in_its_block_and_not_after(state):
    with state.lock("lock") as lock:
        assert lock.held
    assert not lock.held


def test_a_lock_has_one_holder_at_a_time(state):
    inside, most = 0, 0

    def use():
        nonlocal inside, most
        for _ in range(10):
            with state.lock("lock"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [in_thread(use) for _ in range(8)]
    for each in threads:
        each.join()
    assert most == 1


def test_what_is_held_is_not_got_by_another_at_once(state):
    with state.lock("lock"):
        assert not state.lock("lock").acquire(timeout=0)


def test_locks_of_other_names_are_other_locks(state):
    with state.lock("one"):
        assert state.lock("other").acquire(timeout=0)


def test_a_lock_that_was_released_is_free(state):
    with state.lock("lock"):
        pass
    assert state.lock("lock").acquire(timeout=0)


def test_a_lock_can_be_used_again(state):
    lock = state.lock("lock")
    with lock:
        first = lock.token
    with lock:
        assert lock.token > first


def test_a_lock_is_not_taken_twice_by_one_object(state):
    with (
        state.lock("lock") as lock,
        pytest.raises(errors.FailedPrecondition, match="by this object already"),
    ):
        lock.acquire()


def test_a_block_that_raises_releases_the_lock(state):
    with pytest.raises(ZeroDivisionError), state.lock("lock"):
        raise ZeroDivisionError
    assert state.lock("lock").acquire(timeout=0)


@pytest.mark.parametrize("name", ["", "\ud800", "l" * 1025, None], ids=repr)
def test_what_is_no_name_is_an_invalid_argument(state, name):
    with pytest.raises(
        errors.InvalidArgument, match="the name of a lock must be a string of 1 to 1024 bytes"
    ):
        state.lock(name)


@pytest.mark.parametrize("lease", [0, -1, float("nan"), float("inf"), "10"], ids=repr)
def test_what_is_no_lease_is_refused(state, lease):
    with pytest.raises(errors.UsageError, match="the lease must be above 0 seconds"):
        state.lock("lock", lease=lease)


# Tokens and fences


def test_tokens_strictly_rise_from_holder_to_holder(state):
    tokens = []
    for _ in range(5):
        with state.lock("lock") as lock:
            tokens.append(lock.token)
    assert tokens == sorted(set(tokens))


def test_a_token_stays_the_same_when_the_lock_is_renewed(state):
    with state.lock("lock", lease=0.3) as lock:
        token, before = lock.token, state.version()
        eventually(lambda: state.version() > before + 1)
        assert (lock.token, held_by(state)) == (token, token)


def test_the_holder_may_write(state):
    with state.lock("lock") as lock:
        state.put("key", 1, fence=lock)
    assert state.get("key") == 1


def test_the_holder_may_write_after_a_renewal(state):
    with state.lock("lock", lease=0.3) as lock:
        before = state.version()
        eventually(lambda: state.version() > before)
        state.put("key", 1, fence=lock)
    assert state.get("key") == 1


def test_who_held_it_before_may_not_write(state):
    with state.lock("lock") as lock:
        fence = lock.fence
    with state.lock("lock"), pytest.raises(errors.FailedPrecondition, match="nothing was written"):
        state.put("key", 1, fence=fence)
    assert state.get("key") is None


def test_who_held_it_before_may_not_delete(state):
    state.put("key", 1)
    with state.lock("lock") as lock:
        fence = lock.fence
    with pytest.raises(errors.FailedPrecondition):
        state.delete("key", fence=fence)
    assert state.get("key") == 1


def test_a_token_that_nobody_was_given_may_not_write(state):
    with state.lock("lock") as lock, pytest.raises(errors.FailedPrecondition):
        state.put("key", 1, fence=Fence("lock", lock.token + 1))


def test_the_fence_of_a_lock_that_is_not_held_cannot_be_had(state):
    with pytest.raises(errors.FailedPrecondition, match="lock 'lock' is not held"):
        state.put("key", 1, fence=state.lock("lock"))


# The line


def test_waiters_get_it_in_the_order_in_which_they_came(state):
    order, threads = [], []

    def wait(number):
        with state.lock("lock"):
            order.append(number)

    with state.lock("lock"):
        for number in range(6):
            threads.append(in_thread(lambda number=number: wait(number)))
            eventually(lambda number=number: waiting(state) == number + 1)
    for each in threads:
        each.join()
    assert order == list(range(6))


def test_who_comes_while_others_wait_does_not_pass_them(state):
    first, done = state.lock("lock"), threading.Event()

    def wait():
        with state.lock("lock"):
            done.wait(SOON)

    first.acquire()
    waiter = in_thread(wait)
    eventually(lambda: waiting(state) == 1)
    first.release()
    passed = state.lock("lock").acquire(timeout=0)
    done.set()
    waiter.join()
    assert not passed


def test_after_its_timeout_a_waiter_has_not_got_it(state):
    with state.lock("lock"):
        assert not state.lock("lock").acquire(timeout=0.05)


def test_after_its_timeout_a_block_is_not_entered(state):
    with (
        state.lock("lock"),
        pytest.raises(errors.DeadlineExceeded, match="'lock' was not free in time"),
    ):
        state.lock("lock", timeout=0.05).__enter__()


def test_the_deadline_of_the_call_ends_waiting(state):
    with state.lock("lock"), call_with(0.2), pytest.raises(errors.DeadlineExceeded):
        state.lock("lock").__enter__()


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_waiter_whose_time_is_over_leaves_no_trace(state, seconds):
    with state.lock("lock"):
        state.lock("lock").acquire(timeout=seconds)
        assert waiting(state) == 0


def test_a_waiter_whose_call_is_over_leaves_no_trace(state):
    with state.lock("lock"):
        with call_with(0.2), pytest.raises(errors.DeadlineExceeded):
            state.lock("lock").__enter__()
        assert waiting(state) == 0


def test_a_lock_is_released_though_the_time_of_the_call_is_over(state):
    lock = state.lock("lock")
    lock.acquire()
    with call_with(-1):
        lock.release()
    assert held_by(state) == 0


def test_a_waiter_that_was_killed_is_passed_over(url, state, client):
    with state.lock("lock"):
        killed = client("hold", url, "lock", 60)
        eventually(lambda: waiting(state) == 1)
        killed.kill()
    assert state.lock("lock").acquire(timeout=SOON)


# Leases


def test_a_lock_in_use_is_renewed_beyond_its_lease(state):
    with state.lock("lock", lease=0.4) as lock:
        end = time.monotonic() + 1.0
        eventually(lambda: time.monotonic() > end)
        assert lock.held
        assert not state.lock("lock").acquire(timeout=0)


def test_a_released_lock_is_renewed_no_more(state):
    with state.lock("lock", lease=0.1):
        pass
    before = state.version()
    end = time.monotonic() + 0.3
    eventually(lambda: time.monotonic() > end)
    assert state.version() == before


def test_a_holder_whose_store_was_closed_loses_it_with_its_lease(url, state, opened):
    other = opened(url)
    assert other.lock("lock", lease=0.3).acquire()
    other.close()
    assert state.lock("lock").acquire(timeout=SOON)


def test_a_holder_that_is_stopped_past_its_lease_loses_it(url, state, client):
    holder = client("hold", url, "lock", 0.3)
    token = int(holder.line())
    holder.stop()
    with state.lock("lock", timeout=SOON) as lock:
        assert lock.token > token


def test_the_late_write_of_a_holder_that_was_stopped_is_refused(url, state, client):
    holder = client("hold", url, "lock", 0.3)
    holder.line()
    holder.stop()
    with state.lock("lock", timeout=SOON) as lock:
        state.put("key", "ours", fence=lock)
        holder.go_on()
        assert holder.ask("put", "key", "late") == "FailedPrecondition"
        assert state.get("key") == "ours"


def test_the_late_write_is_refused_also_when_nobody_has_taken_the_lock(url, state, client):
    holder = client("hold", url, "lock", 0.3)
    token = int(holder.line())
    holder.stop()
    _, stopped = state.engine.read([], 5.0)
    eventually(lambda: state.engine.read([], 5.0).now > stopped + 0.4)
    holder.go_on()
    assert (held_by(state), holder.ask("put", "key", "late")) == (token, "FailedPrecondition")


def test_the_lock_of_a_holder_that_was_stopped_says_that_it_is_lost(url, state, client):
    holder = client("hold", url, "lock", 0.3)
    holder.line()
    holder.stop()
    with state.lock("lock", timeout=SOON):
        holder.go_on()
        assert holder.ask("held") == "False"


def test_who_has_lost_it_does_not_release_it_for_the_new_holder(url, state, client):
    holder = client("hold", url, "lock", 0.3)
    holder.line()
    holder.stop()
    with state.lock("lock", timeout=SOON) as lock:
        holder.go_on()
        holder.ask("release")
        assert held_by(state) == lock.token


def test_the_lock_of_a_killed_holder_is_free_at_once(url, state, client):
    holder = client("hold", url, "lock", 3600)
    holder.line()
    holder.kill()
    assert state.lock("lock").acquire(timeout=SOON)


def test_the_late_write_for_a_killed_holder_is_refused_once_another_has_the_lock(
    url, state, client
):
    holder = client("hold", url, "lock", 3600)
    fence = Fence("lock", int(holder.line()))
    holder.kill()
    with state.lock("lock", timeout=SOON), pytest.raises(errors.FailedPrecondition):
        state.put("key", 1, fence=fence)


def test_a_block_whose_lock_was_lost_ends_with_aborted(state, monkeypatch):
    lock = state.lock("lock", lease=0.2)
    lock.acquire()
    state.renewals.remove(lock)
    eventually(lambda: not lock.held)
    with pytest.raises(errors.Aborted, match=r"'lock': the lease of 0\.2 s ran out during use"):
        lock.__exit__(None, None, None)


def test_a_lock_whose_row_is_another_s_by_now_is_told_of_in_the_log(state, caplog):
    with caplog.at_level(logging.WARNING, "ringback.state"):
        lock = state.lock("lock", lease=0.3)
        lock.acquire()
        state.engine.commit({}, {"l:lock": Write(None)}, 5.0)
        eventually(lambda: "lock 'lock' lost, its lease of 0.3 s has run out" in caplog.messages)
    assert not lock.held


def test_to_release_what_is_not_held_does_nothing(state):
    with state.lock("lock") as lock:
        state.lock("lock").release()
        assert held_by(state) == lock.token


def test_to_release_twice_does_nothing(state):
    lock = state.lock("lock")
    lock.acquire()
    lock.release()
    with state.lock("lock") as other:
        lock.release()
        assert held_by(state) == other.token


# asyncio


def test_a_coroutine_holds_it_in_its_block_and_not_after(state):
    async def main():
        async with state.aio.lock("lock") as lock:
            assert lock.held
            await state.aio.put("key", 1, fence=lock)
        assert not lock.held
        assert await state.aio.lock("lock").aacquire(timeout=0)

    asyncio.run(main())


def test_coroutines_take_turns(state):
    async def main():
        inside, most = 0, 0

        async def use():
            nonlocal inside, most
            async with state.aio.lock("lock"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(use() for _ in range(20)))
        assert most == 1

    asyncio.run(main())


def test_a_coroutine_waits_no_longer_than_its_timeout(state):
    async def main():
        async with state.aio.lock("lock"):
            with pytest.raises(errors.DeadlineExceeded):
                await state.aio.lock("lock", timeout=0.05).__aenter__()
            assert not await state.aio.lock("lock").aacquire(timeout=0.05)

    asyncio.run(main())
    assert waiting(state) == 0


def test_a_waiting_coroutine_that_is_cancelled_leaves_nothing_behind(state):
    async def main():
        entered = False

        async def wait():
            nonlocal entered
            async with state.aio.lock("lock"):
                entered = True

        async with state.aio.lock("lock"):
            task = asyncio.ensure_future(wait())
            while waiting(state) == 0:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (waiting(state), entered) == (0, False)
        assert held_by(state) == 0

    asyncio.run(main())


def test_coroutines_cancelled_at_any_moment_leave_the_lock_free(state):
    async def use():
        async with state.aio.lock("lock"):
            await asyncio.sleep(0)

    async def main():
        for turns in range(25):
            task = asyncio.ensure_future(use())
            for _ in range(turns):
                await asyncio.sleep(0.0002)
            task.cancel()
            await asyncio.wait([task])
        assert await state.aio.lock("lock").aacquire(timeout=SOON)

    asyncio.run(main())
    assert waiting(state) == 0


def test_what_was_cancelled_does_not_release_the_lock_when_it_is_in_use_again(state):
    async def main():
        lock = state.lock("lock")
        async with state.lock("lock"):
            task = asyncio.ensure_future(lock.aacquire())
            while waiting(state) == 0:
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task])
        async with lock:
            del task
            gc.collect()
            assert lock.held

    asyncio.run(main())


# As large as the promise


@pytest.mark.timeout(LONG)
def test_of_many_processes_one_is_accepted_at_a_time_though_holders_are_stopped(
    url, state, client, capsys
):
    count, stop_every = size((10, 10), (2500, 250))
    clients = [client("take", url, "lock", count, 0.5, stop_every) for _ in range(8)]
    took, failures = [], []
    for each in clients:
        assert each.line() == "ready"
        each.process.stdin.write(b"\n")
        each.process.stdin.flush()

    def listen(each):
        """Let whoever has stopped itself go on once another has had the lock: we."""
        try:
            for line in each.lines(LONG):
                what, rest = line.split(maxsplit=1)
                if what == "took":
                    took.append(json.loads(rest))
                    continue
                eventually(lambda: each.stopped)
                with state.lock("lock", timeout=LONG) as lock:
                    assert lock.token > int(rest)
                each.go_on()
        except BaseException as error:
            failures.append(error)

    threads = [in_thread(lambda each=each: listen(each)) for each in clients]
    for each in threads:
        each.join()
    assert not failures
    assert len(took) == 8 * count

    # What a holder wrote after it was stopped was refused.
    late = [versions[1] for *_, stopped, versions in took if stopped]
    assert late == [0] * (8 * (count // stop_every))
    # In the order in which the store has taken them, no write is of a holder before the one of the
    # write before.
    writes = sorted(
        (version, token) for token, *_, versions in took for version in versions if version
    )
    assert [token for _, token in writes] == sorted(token for _, token in writes)
    # No token comes twice, and who asked after another had got the lock has a higher one.
    took.sort()
    newest, asked_last = 0, 0.0
    for token, asked, got, *_ in took:
        assert token > newest
        assert got >= asked_last
        newest, asked_last = token, max(asked_last, asked)
    if FULL:
        refused = sum(1 for *_, versions in took for version in versions if not version)
        with capsys.disabled():
            print(
                f"\n{len(took):,} acquisitions by 8 processes, {len(late)} stopped past their "
                f"lease: {len(writes):,} fenced writes "
                f"accepted, none out of turn, {refused} refused; tokens strictly rising"
            )


def test_one_object_is_waited_for_by_one_at_a_time(state):
    with state.lock("lock"):
        asked = state.lock("lock", timeout=SOON)
        waiter = threading.Thread(target=asked.acquire)
        waiter.start()
        eventually(lambda: waiting(state) == 1)
        with pytest.raises(errors.FailedPrecondition, match="is waited for by this object already"):
            asked.acquire()
    waiter.join()
    asked.release()
