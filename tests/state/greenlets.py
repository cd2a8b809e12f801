"""`python greenlets.py URL`: greenlets of one hub at one store. Prints the sum that they made, and
whether others ran meanwhile.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

import gevent  # noqa: E402
from ringback.state import open_state  # noqa: E402

GREENLETS, TIMES = 6, 3


def main(url: str) -> None:
    state = open_state(url)
    inside, most, turns = 0, 0, 0

    def add() -> None:
        nonlocal inside, most
        for _ in range(TIMES):
            state.update("sum", lambda value: value + 1, 0)
            with state.lock("lock") as lock:
                inside += 1
                most = max(most, inside)
                state.put("last", lock.token, fence=lock)
                inside -= 1

    def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0.0005)

    turning = gevent.spawn(turn)
    gevent.joinall([gevent.spawn(add) for _ in range(GREENLETS)], raise_error=True)
    turning.kill()
    print(f"sum {state.get('sum')}, at most {most} inside, others ran: {turns > GREENLETS * TIMES}")


if __name__ == "__main__":
    main(*sys.argv[1:])
