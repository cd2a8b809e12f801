"""Threads whose gevent hub runs a server of this process: a blocking client there would keep the server from answering it."""

from __future__ import annotations

from collections import Counter

# How many servers each thread's hub runs, by the number that the operating system gives the thread.
serving: Counter[int] = Counter()


def entered(thread: int) -> None:
    """A server begins on the hub of that thread."""
    serving[thread] += 1


def left(thread: int) -> None:
    """It has ended."""
    serving[thread] -= 1
    if serving[thread] <= 0:
        del serving[thread]
