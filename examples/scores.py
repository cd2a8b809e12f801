"""Scores 100,000 rows by a model that a server holds, in messages of 1,000 rows: `python examples/scores.py ENDPOINT`.

    ringback serve examples/scores.py:service

Rows are read, and scores counted, as they come: neither have to fit into memory.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterator

import ringback

service = ringback.Service("scores")

WEIGHTS = (0.8, -1.3, 0.4)  # in truth, a model that takes seconds to load


@service.method(readonly=True)
def score(row: tuple[float, float, float]) -> float:
    "The chance that somebody pays, of age, income and debt, standardised."
    return 1 / (1 + math.exp(-sum(map(float.__mul__, WEIGHTS, row))))


def rows(count: int) -> Iterator[tuple[float, float, float]]:
    """In truth, of a file or a table."""
    chance = random.Random(7)
    for _ in range(count):
        yield chance.gauss(), chance.gauss(), chance.gauss()


def main(endpoint: str, count: int = 100_000) -> None:
    with ringback.connect(endpoint) as client:
        begun = time.perf_counter()
        good = sum(chance > 0.5 for chance in client.map("score", rows(count)))
        seconds = time.perf_counter() - begun
    print(f"{good:,} of {count:,} pay, known in {seconds:.1f} s: {count / seconds:,.0f} a second")


if __name__ == "__main__":
    main(sys.argv[1])
