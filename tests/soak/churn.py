"""`python churn.py STYLE SECONDS ENDPOINT`: does all that a client can do, over and over, and
prints at the end what it saw and kept.

The line is JSON: `rounds`, `wrong` (answers that were not the right ones), and the threads,
descriptors and resident bytes after a third of
the time, when all is warm, and at the end.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from typing import Any

import ringback
from ringback.clients.scripts import Each, run


def held() -> dict[str, int]:
    """Of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


def round_of(client: Any, style: str, endpoint: str, number: int) -> Generator[Any, Any, int]:
    """Returns how many answers were wrong."""
    wrong = 0
    for n in range(20):
        wrong += (yield client.call("add", n, number)) != n + number
    fired = [client.fire("echo.worker", n) for n in range(200)]
    for n, future in enumerate(fired):
        wrong += (yield future) != n
    cancelled = [client.fire("nap", 30.0) for _ in range(20)]
    yield client.call("ringback.ping")
    for future in cancelled:
        if hasattr(future, "addErrback"):
            future.addErrback(lambda _: None)  # Twisted's own word for having looked
        future.cancel()
    items: list[int] = []
    yield Each(client.stream("count", 150), items.append)
    wrong += items != list(range(150))
    wrong += (yield client.call("sum_of", iter(range(150)))) != sum(range(150))
    squares: list[int] = []
    yield Each(client.stream("squares_async", iter(range(150))), squares.append)
    wrong += squares != [n * n for n in range(150)]
    for method, argument in (("fail", "soak"), ("nosuch", 1)):
        try:
            yield client.call(method, argument)
            wrong += 1
        except ringback.errors.CallError:
            pass
    try:
        yield client.options(timeout=0.01).call("nap", 5.0)
        wrong += 1
    except ringback.errors.DeadlineExceeded:
        pass
    client.notify("add", 1, 2)
    large = os.urandom(100_000)
    wrong += (yield client.call("echo", large)) != large
    other = import_module(f"ringback.clients.{style}").connect(endpoint)
    wrong += (yield other.call("add", 1, 2)) != 3
    yield other.close()
    return wrong


def main(style: str, seconds: float, endpoint: str) -> None:
    told: dict[str, Any] = {"rounds": 0, "wrong": 0}

    def work(client: Any) -> Generator[Any, Any, None]:
        begun = time.monotonic()
        while (elapsed := time.monotonic() - begun) < seconds:
            if elapsed > seconds / 3 and "warm" not in told:
                told["warm"] = held()
            told["wrong"] += yield from round_of(client, style, endpoint, told["rounds"])
            told["rounds"] += 1
        told["end"] = held()

    run(style, [endpoint], work)
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
