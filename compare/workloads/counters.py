"""The workload `counter`: calls add to a few counters in a state store, with or without protection.

The handlers run in the servers, the scripts in the load generators; only calls connect them. At the
end the script compares the counters with the acknowledged updates. Some calls are sent twice, like
those of a client that lost the first reply. Each caller sends these to a counter of its own, one
after another, so a doubled effect is distinguishable from an update lost in a race.
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
# Seconds. A caller that repeatedly loses the race waits for a good part of them.
WINDOW = 0.2

# Fractions of the calls: those sent twice, and those that only read.
TWICE = 0.05
READS = 0.2

# Part of the counters' names, so that two runs on one store use different ones.
_RUN = secrets.token_hex(6)

Answer = tuple[int, int]


# The handlers


def add(number: int, counter: str) -> Answer:
    """Read, add 1, write, without protection."""
    state = _state()
    total = state.get(counter, 0) + 1
    state.put(counter, total)
    return number, total


def add_locked(number: int, counter: str) -> Answer:
    """The same under a lock; the write carries the lock's fencing token."""
    state = _state()
    with state.lock(counter) as lock:
        total = state.get(counter, 0) + 1
        state.put(counter, total, fence=lock)
    return number, total


def add_versioned(number: int, counter: str) -> Answer:
    """The same, repeated until no other write came between reading and writing."""
    return number, _state().update(counter, lambda total: total + 1, 0)


def add_once(number: int, counter: str) -> Answer:
    """The same, once for each idempotency key: write and key are committed together."""
    tx = current_call().transaction
    total = tx.get(counter, 0) + 1
    tx.put(counter, total)
    return number, total


def total_of(number: int, counter: str) -> Answer:
    """The counter's total."""
    return number, _state().get(counter, 0)


def take(counters: list[str]) -> list[int]:
    """Read and delete the counters."""
    with _state().transaction() as tx:
        totals = [tx.get(counter, 0) for counter in counters]
        for counter in counters:
            tx.delete(counter)
    return totals


def _state() -> State:
    return current_call().state


# The scripts


class _Ledger:
    """By counter, the callers' view of one measurement: acknowledged updates, updates of unknown
    outcome, and the highest total received; and the number of stale reads."""

    def __init__(self) -> None:
        self.acknowledged: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.highest: Counter[str] = Counter()
        self.stale = 0
        self.lock = Lock()

    def promised(self, counter: str) -> int:
        """The least total that a read which starts now must return."""
        with self.lock:
            return max(self.acknowledged[counter], self.highest[counter])


# By measurement. One thread creates all its callers, before the first of them calls.
_ledgers: defaultdict[int, _Ledger] = defaultdict(_Ledger)


def script(method: str, keyed: bool, numbers: Iterator[int], _steps: int) -> Script:
    """One caller's calls. With `keyed`, both sends of a doubled call carry the same key."""
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
    """Compare the counters with the acknowledged updates. An update of unknown outcome may count or
    not."""
    ledger = _ledgers.pop(measurement(ended.first), _Ledger())
    counters = list(ledger.acknowledged | ledger.unknown)
    totals = (yield Call("take", (counters,))) if counters else []
    lost = duplicated = 0
    for total, counter in zip(totals, counters, strict=True):
        lost += max(0, ledger.acknowledged[counter] - total)
        duplicated += max(0, total - ledger.acknowledged[counter] - ledger.unknown[counter])
    return Consistency(lost, duplicated, ledger.stale)
