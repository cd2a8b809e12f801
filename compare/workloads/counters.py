"""The workload `counter`: calls add to a few counters in a state store, unprotected or in one of several protected ways.

The handlers run in the servers, the scripts in the load generators; nothing but calls is between them. What the counters say at the end is
compared with what was acknowledged. Some calls are sent twice, as by a client that lost the first answer: each caller has a counter of
its own for those, to which it adds one call after another, so that what is there twice is told from what is lost in a race.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from itertools import chain
from threading import Lock
from typing import Any

from ...context import current_call
from ...state import State
from ..results import Consistency
from ..scenario import KEY, Call, Ended, Script, WrongReply
from .numbers import measurement, spread

COUNTERS = 4
CALLERS = 8
# A caller who is overtaken again and again waits for a good part of this.
WINDOW = 0.2

# Of the calls, those that are made twice, and those that only read.
TWICE = 0.05
READS = 0.2

# In the names of counters, so that no two runs on one store have the same.
_RUN = secrets.token_hex(6)

Answer = tuple[int, int]


# The handlers


def add(number: int, counter: str) -> Answer:
    """Read, modify, write, as if nobody else did."""
    state = _state()
    total = state.get(counter, 0) + 1
    state.put(counter, total)
    return number, total


def add_locked(number: int, counter: str) -> Answer:
    """The same by one at a time, and only while the lock is held."""
    state = _state()
    with state.lock(counter) as lock:
        total = state.get(counter, 0) + 1
        state.put(counter, total, fence=lock)
    return number, total


def add_versioned(number: int, counter: str) -> Answer:
    """The same again, until nobody else has written between reading and writing."""
    return number, _state().update(counter, lambda total: total + 1, 0)


def add_once(number: int, counter: str) -> Answer:
    """The same, once for each key however often it is called: what is written is committed together with the key."""
    tx = current_call().transaction
    total = tx.get(counter, 0) + 1
    tx.put(counter, total)
    return number, total


def total_of(number: int, counter: str) -> Answer:
    """What the counter says."""
    return number, _state().get(counter, 0)


def take(counters: list[str]) -> list[int]:
    """What the counters say; they are gone after it."""
    with _state().transaction() as tx:
        totals = [tx.get(counter, 0) for counter in counters]
        for counter in counters:
            tx.delete(counter)
    return totals


def _state() -> State:
    return current_call().state


# The scripts


class _Ledger:
    """What the callers of one measurement know of each counter: updates that were acknowledged, those of which nobody knows, the highest
    total that was told; and how many reads were stale."""

    def __init__(self) -> None:
        self.acknowledged: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.highest: Counter[str] = Counter()
        self.stale = 0
        self.lock = Lock()

    def promised(self, counter: str) -> int:
        """What whoever reads now must be shown at least."""
        with self.lock:
            return max(self.acknowledged[counter], self.highest[counter])


# By measurement; all callers of one are made by one thread, before any of them calls.
_ledgers: defaultdict[int, _Ledger] = defaultdict(_Ledger)


def script(method: str, keyed: bool, numbers: Iterator[int], _steps: int) -> Script:
    """One caller's calls. Where they are `keyed`, a call that is made twice has the same key both times."""
    first = next(numbers)
    ledger = _ledgers[measurement(first)]
    own = f"{_RUN}/{first:x}"
    for number in chain((first,), numbers):
        part = spread(number)
        shared = f"{_RUN}/{measurement(first):x}/{number % COUNTERS}"
        if part < TWICE:
            key = {KEY: f"{_RUN}-{number:x}"} if keyed else {}
            call = Call(method, (number, own), key)
            yield from _update(ledger, own, call)
            _total(call, (yield call))
        elif part < TWICE + READS:
            at_least = ledger.promised(shared)
            call = Call("total_of", (number, shared))
            total = _total(call, (yield call))
            with ledger.lock:
                ledger.stale += total < at_least
        else:
            yield from _update(ledger, shared, Call(method, (number, shared)))


def _update(ledger: _Ledger, counter: str, call: Call) -> Script:
    try:
        total = _total(call, (yield call))
    except Exception:
        with ledger.lock:
            ledger.unknown[counter] += 1
        raise
    with ledger.lock:
        ledger.acknowledged[counter] += 1
        ledger.highest[counter] = max(ledger.highest[counter], total)


def _total(call: Call, reply: Any) -> int:
    match reply:
        case [int(number), int(total)] if number == call.args[0]:
            return total
    raise WrongReply


def check(ended: Ended) -> Generator[Call, Any, Consistency]:
    """What the counters say against what was acknowledged. An update of which nobody knows may be there or not."""
    ledger = _ledgers.pop(measurement(ended.first), _Ledger())
    counters = list(ledger.acknowledged | ledger.unknown)
    totals = (yield Call("take", (counters,))) if counters else []
    lost = duplicated = 0
    for total, counter in zip(totals, counters, strict=True):
        lost += max(0, ledger.acknowledged[counter] - total)
        duplicated += max(0, total - ledger.acknowledged[counter] - ledger.unknown[counter])
    return Consistency(lost, duplicated, ledger.stale)
