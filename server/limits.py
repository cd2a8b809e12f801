"""Bounds of one server that follow from its options, or from the process that it runs in."""

from __future__ import annotations

import resource

from ..errors import UsageError
from .options import LimitOptions

# Descriptors that connections leave to the rest of the process.
RESERVED = 100

# What may wait for clients to read it, in times of the largest value, where nothing is said. With what may have come and is not served, and
# the holes that both leave in memory, this is less than 64 MiB for values of 16.
_UNSENT = 2


def check_together(limits: LimitOptions) -> None:
    """Raises UsageError for bounds that the largest value does not fit in."""
    size = limits["max_size"]
    for name, most in (("max_unserved", limits["max_unserved"]), ("max_unsent", limits["max_unsent"])):
        if most is not None and most < size:
            raise UsageError(f"{name} must be at least {size} bytes, as max_size is, not {most}")


def connections(limits: LimitOptions) -> int:
    """The most at once: as many as are asked for, if the process may have so many descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits["max_connections"]
    return min(limits["max_connections"], max(soft - RESERVED, soft // 2))


def unserved(limits: LimitOptions) -> int:
    """Bytes."""
    bound = limits["max_unserved"]
    return limits["max_size"] if bound is None else bound


def unsent(limits: LimitOptions) -> int:
    """Bytes."""
    bound = limits["max_unsent"]
    return _UNSENT * limits["max_size"] if bound is None else bound
