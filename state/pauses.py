"""Seconds between two polls of a store: at first, and at most."""

SOON, LATEST = 0.002, 0.05
