"""How long to wait from one look at a store to the next, in seconds: at first, and at most."""

SOON, LATEST = 0.002, 0.05
