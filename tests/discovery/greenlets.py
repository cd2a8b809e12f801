"""`python greenlets.py PLACE`: a source in a program that gevent has patched. Prints what is known, and whether others ran meanwhile."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

import gevent  # noqa: E402
from ringback.discovery import source_of  # noqa: E402


def main(place: str) -> None:
    source = source_of(place)
    assert source is not None
    lists: list[list[str]] = []
    source.start(lists.append)
    turns = 0
    while not lists or turns < 100:
        turns += 1
        gevent.sleep(0.001)
    source.close()
    print(*lists[-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
