"""The server of `many.py`: `waiting.py SECONDS PART ENDPOINT [OPTION]...` waits so long in this part of its calls, 5 ms in the others. When
it ends, it says on standard error how many calls it has had."""

from __future__ import annotations

import os
import random
import sys
import time

import ringback

seconds, part, endpoint = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
service = ringback.Service("waiting")
had = 0


def wait() -> int:
    global had
    had += 1
    time.sleep(seconds if random.random() < part else 0.005)
    return os.getpid()


service.method(name="read", readonly=True)(wait)
service.method(name="write")(wait)


@service.method(readonly=True, inline=True)
def calls() -> int:
    return had


if __name__ == "__main__":
    ringback.serve(service, endpoint, backend=sys.argv[sys.argv.index("--backend") + 1])
