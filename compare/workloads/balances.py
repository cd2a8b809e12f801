"""The workload `balance`: calls to several servers of the same service, one of which takes ten times as long as the others. Which of them a
call goes to is the client's choice, by one policy or another.

Each server notes when it begins a call, so that what the slow one was given, and what was sent twice, is known from the servers themselves:
of a call that was sent to two, the client sees one answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from ...server.service import Service
from ..scenario import Call, Script, WrongReply
from .numbers import measurement

WAIT_SECONDS = 0.005
SLOWER = 10

# So few that neither three servers on one processor nor a client is the limit, and so many that a window in which a third of all calls is
# slow has calls enough for a p99.
CALLERS = 32
SERVERS = 3
WINDOW = 0.8

# A client is new to its servers in each window: so long they have to find out who is slow. They look for that every 250 ms.
WARMUP = 0.6


class Balancing(NamedTuple):
    """How a client of many servers is made; as it is without options, unless other is said."""

    policy: str | None = None
    ejection: bool = True
    hedge: bool = False


class Begun(NamedTuple):
    """The calls of one measurement that a server began, in its window and in all."""

    inside: int
    whole: int


# By measurement, when the calls of it began.
_begun: dict[int, list[float]] = {}


def wait(number: int) -> int:
    """The number, after a wait as for a database."""
    return _waited(number, WAIT_SECONDS)


def wait_long(number: int) -> int:
    """The same on the server that is slow."""
    return _waited(number, SLOWER * WAIT_SECONDS)


def _waited(number: int, seconds: float) -> int:
    _begun.setdefault(measurement(number), []).append(time.monotonic())
    time.sleep(seconds)
    return number


def begun(number: int, opens: float, closes: float) -> Begun:
    """Of the measurement that the number belongs to; nothing is kept of it."""
    times = _begun.pop(measurement(number), [])
    return Begun(sum(opens <= time < closes for time in times), len(times))


# The one that is slow.
slow = Service("compare")
slow.method(name="wait", readonly=True)(wait_long)
slow.method(begun)


def script(numbers: Iterator[int], _steps: int) -> Script:
    """One caller's calls."""
    for number in numbers:
        if (yield Call("wait", (number,))) != number:
            raise WrongReply
