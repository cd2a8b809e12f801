"""The numbers that scripts are given: no two of a run are the same, and those of one measurement lie together."""

from __future__ import annotations

# So many are for each measurement alone.
EACH = 1 << 32

# Spreads numbers evenly but out of step (Fibonacci hashing; Knuth, volume 3, section 6.4).
SCATTER = 2654435769


def measurement(number: int) -> int:
    """That to which a number belongs."""
    return number // EACH


def spread(number: int) -> float:
    """Where it falls from 0 to 1: of any numbers in turn, so large a part falls below each value as that is."""
    return (number * SCATTER) % EACH / EACH
