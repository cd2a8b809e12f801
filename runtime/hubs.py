"""Threads whose gevent hub runs a server: there a blocking client would block that server."""

from __future__ import annotations

from collections import Counter

# Number of servers on each thread's hub, by native thread id.
serving: Counter[int] = Counter()


def entered(thread: int) -> None:
    """A server starts on the hub of that thread."""
    serving[thread] += 1


def left(thread: int) -> None:
    """A server on the hub of that thread has ended."""
    serving[thread] -= 1
    if serving[thread] <= 0:
        del serving[thread]
