"""The workload `read`: calls that read a value from a slow source, directly or by faster variants.

There is no database: a wait stands for its latency, and the clock for the values that others write.
All processes of the machine share that clock, so a caller knows which value was the newest when its
read began.
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

# Number of keys. The key of rank r is read about 1/r times as often as the first (Zipf).
KEYS = 300

# Seconds after which a value changes, and for which a cache keeps it. Writes invalidate no cache.
CHANGE_SECONDS = 0.2
CACHE_SECONDS = 0.1

Answer = tuple[int, int]


def read(_space: int, key: int) -> Answer:
    """Return the key and its value, after a wait that occupies a worker.

    Each measurement reads in a key space of its own.
    """
    time.sleep(READ_SECONDS)
    return key, newest()


async def read_async(_space: int, key: int) -> Answer:
    """The same, after a wait that occupies no worker."""
    await asyncio.sleep(READ_SECONDS)
    return key, newest()


def newest() -> int:
    """The current value of all keys."""
    return int(time.monotonic() / CHANGE_SECONDS)


# By measurement: the numbers of its stale reads.
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
