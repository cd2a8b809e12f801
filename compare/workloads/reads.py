"""The workload `read`: calls that read a value from something slow, plainly or in one of several quicker ways.

There is no database: a wait stands for its time, and the clock for what others write to it. All processes of the machine share that clock,
so whoever reads knows which value was the newest when it began to.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from typing import Any

from ..results import Consistency
from ..scenario import Call, Ended, Script, WrongReply
from .numbers import measurement, spread

READ_SECONDS = 0.005

# Different keys, few of which are read often: the one of rank r about 1/r times as often as the first (Zipf).
KEYS = 300

# How often each value changes, and for how long a cache keeps it: whoever writes it tells nobody.
CHANGE_SECONDS = 0.2
CACHE_SECONDS = 0.1

Answer = tuple[int, int]


def read(_space: int, key: int) -> Answer:
    """The key and its value, after a wait that takes a worker. No measurement reads in the space of another."""
    time.sleep(READ_SECONDS)
    return key, newest()


async def read_async(_space: int, key: int) -> Answer:
    """The same, after a wait that takes none."""
    await asyncio.sleep(READ_SECONDS)
    return key, newest()


def newest() -> int:
    """The value that all keys have now."""
    return int(time.monotonic() / CHANGE_SECONDS)


# By measurement, the numbers of the reads that were stale.
_stale: defaultdict[int, list[int]] = defaultdict(list)


def script(method: str, numbers: Iterator[int], _steps: int) -> Script:
    for number in numbers:
        space, key = measurement(number), int(KEYS ** spread(number))
        then = newest()
        match (yield Call(method, (space, key))):
            case [int(returned), int(value)] if returned == key:
                if value < then:
                    _stale[space].append(number)
            case _:
                raise WrongReply


def check(ended: Ended) -> Generator[Call, Any, Consistency]:
    yield from ()
    return Consistency(stale_reads=len(_stale.pop(measurement(ended.first), ())))
