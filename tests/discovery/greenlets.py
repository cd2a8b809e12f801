"""`python greenlets.py PLACE`: a source in a program that gevent has patched. Prints what is known;
ends if others ran meanwhile, and when
nothing is left of the source."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
from ringback.discovery import source_of  # noqa: E402


def known(place: str) -> list[str]:
    source = source_of(place)
    assert source is not None
    lists: list[list[str]] = []
    source.start(lists.append)
    turns = 0
    while not lists or turns < 100:
        turns += 1
        gevent.sleep(0.001)
    source.close()
    return lists[-1]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def main(place: str) -> None:
    gevent.sleep(0)  # the hub of this thread stays
    before = descriptors()
    print(*known(place))
    while descriptors() > before:
        gevent.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
