"""The numbers of scripts: unique in a run, and contiguous within a measurement."""

from __future__ import annotations

# Numbers reserved for each measurement.
EACH = 1 << 32

# Spreads consecutive numbers evenly and irregularly (Fibonacci hashing; Knuth, volume 3, 6.4).
SCATTER = 2654435769


def measurement(number: int) -> int:
    """The measurement that a number belongs to."""
    return number // EACH


def spread(number: int) -> float:
    """Map a number to 0..1. The values of consecutive numbers are uniformly distributed."""
    return (number * SCATTER) % EACH / EACH
