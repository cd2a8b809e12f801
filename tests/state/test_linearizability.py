"""The checker of histories, shown to be right; then what real processes have seen of each engine,
checked.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from math import inf
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from linearizability import Operation, in_order_of_versions, linearizable
from sizes import size

PROCESSES = 8
OPERATIONS = size(100, 2500)
LONG = size(60, 900)


def op(
    kind: str,
    argument: Any,
    result: Any,
    begun: float,
    ended: float,
    version: int = 0,
    key: str = "k",
) -> Operation:
    return Operation(kind, key, argument, result, begun, ended, version)


@st.composite
def possible_histories(draw: st.DrawFn, length: int = 30) -> list[Operation]:
    """Done one after the other on real registers, then told as if each had taken a while; values
    come once, versions rise.
    """
    registers: dict[str, Any] = defaultdict(lambda: None)
    versions: dict[str, int] = defaultdict(int)
    history = []
    for moment in range(draw(st.integers(0, length))):
        kind, key = draw(st.sampled_from(["read", "write", "cas"])), draw(st.sampled_from("ab"))
        lost = draw(st.integers(0, 9)) == 0
        begun, ended = (
            moment - draw(st.floats(0, 5)),
            inf if lost else moment + draw(st.floats(0, 5)),
        )
        if lost and draw(st.booleans()):
            history.append(
                Operation("write", key, moment, None, begun, ended)
            )  # and it had no effect
            continue
        argument: Any = None
        result: Any = None
        if kind == "read":
            result, version = registers[key], versions[key]
        else:
            fits, version = True, moment + 1
            if kind == "cas":
                expected = draw(st.sampled_from([registers[key], None, "other"]))
                argument, result = (expected, moment), registers[key] == expected
                fits = result
            else:
                argument = moment
            if fits:
                registers[key], versions[key] = moment, version
            version = version if fits else 0
        history.append(Operation(kind, key, argument, result, begun, ended, 0 if lost else version))
    return history


def by_brute_force(history: list[Operation]) -> bool:
    """All orders of all choices among those of which nobody knows."""
    lost = [each for each in history if each.unknown]
    known = [each for each in history if not each.unknown]
    for count in range(len(lost) + 1):
        for some in itertools.combinations(lost, count):
            for order in itertools.permutations([*known, *some]):
                if any(
                    later.ended < earlier.begun
                    for earlier, later in itertools.combinations(order, 2)
                ):
                    continue
                value = None
                for each in order:
                    possible, value = each.applied(value)
                    if not possible:
                        break
                else:
                    return True
    return False


def with_a_stale_read(history: list[Operation]) -> list[Operation] | None:
    """The same with a read that says what had been overwritten before it was begun, where there is
    such a place.
    """
    stored = [
        each
        for each in history
        if not each.unknown and (each.kind == "write" or (each.kind == "cas" and each.result))
    ]
    for number, read in enumerate(history):
        if read.kind != "read" or read.unknown:
            continue
        over = [each for each in stored if each.key == read.key and each.ended < read.begun]
        for old in over:
            if any(old.ended < new.begun for new in over):
                stale = read._replace(result=old.stores, version=old.version)
                return [*history[:number], stale, *history[number + 1 :]]
    return None


def with_a_lost_update(history: list[Operation]) -> list[Operation] | None:
    """The same with two changes of one value, each of which says that it has found it."""
    for number, failed in enumerate(history):
        if failed.kind != "cas" or failed.unknown or failed.result:
            continue
        for done in history:
            if done.kind == "cas" and not done.unknown and done.result and done.key == failed.key:
                lost = failed._replace(
                    argument=(done.argument[0], failed.argument[1]),
                    result=True,
                    version=done.version,
                )
                return [*history[:number], lost, *history[number + 1 :]]
    return None


@given(possible_histories())
@settings(max_examples=150, deadline=None)
def test_what_registers_have_done_is_accepted(history):
    assert linearizable(history)


@given(possible_histories())
@settings(max_examples=150, deadline=None)
def test_versions_that_a_store_gave_in_order_are_accepted(history):
    assert in_order_of_versions(history)


@given(possible_histories())
@settings(max_examples=150, deadline=None)
def test_a_stale_read_is_found_in_any_history(history):
    stale = with_a_stale_read(history)
    assume(stale is not None)
    assert not linearizable(stale)
    assert not in_order_of_versions(stale)


@given(possible_histories())
@settings(max_examples=150, deadline=None)
def test_a_lost_update_is_found_in_any_history(history):
    lost = with_a_lost_update(history)
    assume(lost is not None)
    assert not linearizable(lost)
    assert not in_order_of_versions(lost)


@given(
    st.lists(
        st.builds(
            lambda kind, begun, takes, a, b, yes: op(
                kind,
                {"read": None, "write": a, "cas": (a, b)}[kind],
                {"read": a, "write": None, "cas": yes}[kind],
                begun,
                begun + takes,
            ),
            st.sampled_from(["read", "write", "cas"]),
            st.integers(0, 6),
            st.sampled_from([0, 1, 2, 4, inf]),
            st.sampled_from([None, 1, 2]),
            st.sampled_from([1, 2]),
            st.booleans(),
        ),
        max_size=6,
    )
)
@settings(max_examples=500, deadline=None)
def test_the_search_and_all_orders_tried_agree_on_any_history(history):
    assert linearizable(history) == by_brute_force(history)


def test_a_write_without_an_answer_may_be_seen_long_after():
    assert linearizable(
        [op("write", 1, None, 0, inf), op("read", None, None, 1, 2), op("read", None, 1, 3, 4)]
    )


def test_a_write_without_an_answer_is_not_undone():
    history = [
        op("write", 1, None, 0, inf),
        op("read", None, 1, 1, 2),
        op("read", None, None, 3, 4),
    ]
    assert not linearizable(history)


def test_a_value_that_nobody_wrote_is_rejected():
    assert not linearizable([op("write", 1, None, 0, 1), op("read", None, 2, 2, 3)])


def test_a_version_below_one_that_was_acknowledged_before_is_rejected():
    assert not in_order_of_versions(
        [op("write", 1, None, 0, 1, 7), op("write", 2, None, 2, 3, 6, key="other")]
    )


def test_thousands_of_operations_on_one_key_are_no_problem():
    writes = [op("write", number, None, number, number + 2.5) for number in range(2000)]
    reads = [op("read", None, number, number + 2, number + 3) for number in range(2000)]
    assert linearizable([*writes, *reads])


@pytest.fixture
def recorded(url, client):
    """What 8 processes at once have done to 4 keys of a store."""
    clients = [
        client("record", url, OPERATIONS, 4, f"process{number}") for number in range(PROCESSES)
    ]
    for each in clients:
        assert each.line() == "ready"
    for each in clients:
        each.process.stdin.write(b"\n")
        each.process.stdin.flush()
    history = []
    for each in clients:
        for line in each.lines(LONG):
            kind, key, argument, *rest = json.loads(line)
            history.append(
                Operation(kind, key, tuple(argument) if kind == "cas" else argument, *rest)
            )
        assert each.process.wait() == 0
    return history


@pytest.mark.timeout(LONG)
def test_what_processes_at_once_have_seen_is_linearizable(recorded, capsys):
    assert len(recorded) >= PROCESSES * OPERATIONS
    assert linearizable(recorded)
    assert in_order_of_versions(recorded)
    # What shows that the above would have seen it.
    for corrupt in (with_a_stale_read, with_a_lost_update):
        assert not linearizable(corrupt(recorded))
        assert not in_order_of_versions(corrupt(recorded))
    if size(False, True):
        with capsys.disabled():
            print(f"\n{len(recorded):,} operations of {PROCESSES} processes are linearizable")
