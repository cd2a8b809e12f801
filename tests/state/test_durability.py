"""What was acknowledged is there: after the writer was killed, and after the server was."""

from __future__ import annotations

import random

import pytest
from processes import SOON
from ringback.state import open_state
from sizes import FULL, size
from stores import Client

KILLS = size(8, 200)
LONG = size(60, 1200)
# Acknowledged writes before a kill, at most.
MOST = 60


def until_killed(url, kill, chance):
    """The lines of a writer, which is killed, or whose server is, after so many of them that chance
    has it.
    """
    with Client("write", url) as writer:
        lines = [writer.line() for _ in range(chance.randrange(1, MOST))]
        kill(writer)
        return [line.split() for line in [*lines, *writer.lines(SOON)]]


def missing(state, lines):
    """What was acknowledged and is not there; what is there in part."""
    found = []
    for kind, number, version in lines:
        expected = (int(number), int(version))
        keys = [f"one/{number}"] if kind == "one" else [f"left/{number}", f"right/{number}"]
        found += [(key, expected, state.read(key)) for key in keys if state.read(key) != expected]
    left, right = (
        {each.key.partition("/")[2] for each in all_of(state, side)} for side in ("left/", "right/")
    )
    return found + sorted(left ^ right)


def all_of(state, prefix):
    found = state.changes(prefix)
    while more := state.changes(prefix, since=found[-1].version if found else 0):
        found += more
    return found


@pytest.mark.timeout(LONG)
def test_a_writer_that_is_killed_has_lost_nothing_that_was_acknowledged(
    tmp_path, shared_valkey, request, capsys
):
    chance = random.Random(7)
    for engine in ("sqlite", "valkey"):
        acknowledged = 0
        for number in range(KILLS):
            url = (
                f"sqlite:///{tmp_path / str(number)}.db"
                if engine == "sqlite"
                else shared_valkey.url()
            )
            lines = until_killed(url, Client.kill, chance)
            acknowledged += len(lines)
            with open_state(url) as state:
                assert missing(state, lines) == []
                # and it goes on from there
                assert state.put("next", 1) > max(int(version) for *_, version in lines)
        if FULL:
            with capsys.disabled():
                print(
                    f"\n{KILLS} writers on {engine} killed: {acknowledged:,} acknowledged, none "
                    f"missing"
                )


@pytest.mark.timeout(LONG)
def test_writers_that_are_killed_one_after_the_other_leave_one_file_whole(tmp_path):
    chance = random.Random(8)
    url = f"sqlite:///{tmp_path / 'state.db'}"
    with open_state(url) as state:
        for _ in range(KILLS):
            lines = until_killed(url, Client.kill, chance)
            assert missing(state, lines) == []
            newest = state.version()
    with open_state(url) as state:
        assert state.version() == newest


@pytest.mark.timeout(LONG)
def test_a_valkey_server_that_is_killed_has_lost_nothing_that_was_acknowledged(
    valkey, opened, capsys
):
    chance = random.Random(9)
    acknowledged = 0
    for _ in range(KILLS):
        url = valkey.url()
        lines = until_killed(url, lambda writer: valkey.kill(), chance)
        acknowledged += len(lines)
        valkey.start()
        state = opened(url)
        assert missing(state, lines) == []
        assert state.put("next", 1) > max(int(version) for *_, version in lines)
    if FULL:
        with capsys.disabled():
            print(
                f"\na Valkey server killed {KILLS} times: {acknowledged:,} acknowledged, none "
                f"missing"
            )


def test_a_lock_is_still_held_when_the_server_was_killed_and_started_again(valkey, opened):
    state = opened(valkey.url())
    with state.lock("lock", lease=60) as lock:
        valkey.kill()
        valkey.start()
        assert not state.lock("lock").acquire(timeout=0)
        state.put("key", 1, fence=lock)
    assert state.get("key") == 1


def test_tokens_go_on_rising_when_the_server_was_killed_and_started_again(valkey, opened):
    state = opened(valkey.url())
    with state.lock("lock") as lock:
        before = lock.token
    valkey.kill()
    valkey.start()
    with state.lock("lock") as lock:
        assert lock.token > before


def test_tokens_go_on_rising_when_the_server_has_lost_all(valkey, opened):
    state = opened(valkey.url())
    with state.lock("lock") as lock:
        before = lock.token
    valkey.ask("FLUSHALL")
    with state.lock("lock") as lock:
        assert lock.token > before
