"""Bounds of one server, derived from its options and from the limits of its process."""

from __future__ import annotations

import resource

from ..errors import UsageError
from .options import LimitOptions

# File descriptors reserved for the rest of the process.
RESERVED = 100

# Default of max_unsent, as a multiple of max_size. Unsent replies, unserved requests and the memory
# holes that both leave take less than 64 MiB together for a max_size of 16 MiB.
_UNSENT = 2


def check_together(limits: LimitOptions) -> None:
    """Raises UsageError if a bound is smaller than max_size."""
    size = limits["max_size"]
    for name, most in (
        ("max_unserved", limits["max_unserved"]),
        ("max_unsent", limits["max_unsent"]),
    ):
        if most is not None and most < size:
            raise UsageError(f"{name} must be at least {size} bytes, as max_size is, not {most}")


def connections(limits: LimitOptions) -> int:
    """Maximum connections: max_connections, or fewer if the process has too few descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits["max_connections"]
    return min(limits["max_connections"], max(soft - RESERVED, soft // 2))


def unserved(limits: LimitOptions) -> int:
    """Maximum bytes received but not yet handled."""
    bound = limits["max_unserved"]
    return limits["max_size"] if bound is None else bound


def unsent(limits: LimitOptions) -> int:
    """Maximum bytes of replies that clients have not read."""
    bound = limits["max_unsent"]
    return _UNSENT * limits["max_size"] if bound is None else bound
