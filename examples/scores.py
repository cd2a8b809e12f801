"""Scores 100,000 rows with a model on a server, in messages of 1,000 rows.

    ringback serve examples/scores.py:service
    python examples/scores.py ENDPOINT

The client reads rows and counts scores one by one, so neither must fit into memory.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterator

import ringback

service = ringback.Service("scores")

WEIGHTS = (0.8, -1.3, 0.4)  # stands for a model that takes seconds to load


@service.method(readonly=True)
def score(row: tuple[float, float, float]) -> float:
    "The probability of payment, from standardised age, income and debt."
    return 1 / (1 + math.exp(-sum(map(float.__mul__, WEIGHTS, row))))


def rows(count: int) -> Iterator[tuple[float, float, float]]:
    """Stands for the rows of a file or a table."""
    chance = random.Random(7)
    for _ in range(count):
        yield chance.gauss(), chance.gauss(), chance.gauss()


def main(endpoint: str, count: int = 100_000) -> None:
    with ringback.connect(endpoint) as client:
        begun = time.perf_counter()
        good = sum(chance > 0.5 for chance in client.map("score", rows(count)))
        seconds = time.perf_counter() - begun
    print(f"{good:,} of {count:,} pay; scored in {seconds:.1f} s, {count / seconds:,.0f} rows/s")


if __name__ == "__main__":
    main(sys.argv[1])
