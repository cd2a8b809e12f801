"""Rendezvous hashing: calls with the same key go to the same server.

Consistent hashing in the form of rendezvous hashing (Thaler and Ravishankar, "Using Name-Based
Mappings to Increase Hit Rates", 1998), with weights (Schindelhauer and Schomaker, "Weighted
Distributed Hash Tables", 2005). Every client computes the same order of servers on its own. If a
server leaves, only its keys move, spread over all others; a server that joins takes its part from
each other one.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import log
from typing import TypeVar

from .loads import Load

L = TypeVar("L", bound=Load)

# Bits of a hash that a float can still tell from 0 and 1.
_BITS = 52


def nearest(among: Iterable[L], key: str) -> L:
    """The server with the highest score for the key.
    It ignores shares: a slow start must not move keys."""
    start = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8)
    chosen, best = None, -1.0
    for load in among:
        digest = start.copy()
        digest.update(load.endpoint.encode())
        score = load.weight / -log(
            ((int.from_bytes(digest.digest()) >> 64 - _BITS) + 0.5) / 2**_BITS
        )
        if score > best:
            chosen, best = load, score
    assert chosen is not None, "there is at least one server"
    return chosen
