"""Calls with the same key go to the same server: consistent hashing in the form of rendezvous hashing (Thaler and Ravishankar, "Using
Name-Based Mappings to Increase Hit Rates", 1998), with weights (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", 2005).

Every client comes to the same order of servers by itself. A server that leaves takes only its own keys along, which then are spread over
all others; one that joins takes of each other server its part.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import log
from typing import TypeVar

from .loads import Load

L = TypeVar("L", bound=Load)

# As many bits as a float keeps apart from 0 and 1.
_BITS = 52


def nearest(among: Iterable[L], key: str) -> L:
    """The server of that key: the one with the highest score. (Not by its share: a slow start must not move keys.)"""
    start = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8)
    chosen, best = None, -1.0
    for load in among:
        digest = start.copy()
        digest.update(load.endpoint.encode())
        score = load.weight / -log(((int.from_bytes(digest.digest()) >> 64 - _BITS) + 0.5) / 2**_BITS)
        if score > best:
            chosen, best = load, score
    assert chosen is not None, "there is at least one"
    return chosen
