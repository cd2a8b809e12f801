"""The server of `many.py`: `waiting.py SECONDS PART ENDPOINT BACKEND WORKERS`.

It waits SECONDS in the fraction PART of its calls, 5 ms in the others.
"""

from __future__ import annotations

import os
import random
import sys
import time

import ringback

seconds, part, endpoint, backend = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
service = ringback.Service("waiting")


def wait() -> int:
    time.sleep(seconds if random.random() < part else 0.005)
    return os.getpid()


service.method(name="read", readonly=True)(wait)
service.method(name="write")(wait)


@service.method(readonly=True)
def report() -> None:
    time.sleep(2.0)


if __name__ == "__main__":
    ringback.serve(service, endpoint, backend=backend, workers=int(sys.argv[5]))
