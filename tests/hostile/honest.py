"""An honest client in a process of its own.

At each line "begin" it calls without a pause until "end", and prints what it saw as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from ringback.clients.threading import connect


def main() -> None:
    over = threading.Event()
    keys = dict(zip(("server_key", "secret_key"), sys.argv[2:], strict=False))
    with connect(sys.argv[1], timeout=15, **keys) as client:
        print("ready", flush=True)
        for line in sys.stdin:
            if line.strip() == "begin":
                over.clear()
                threading.Thread(target=_end, args=(over,)).start()
                print(json.dumps(_call(client, over)), flush=True)


def _end(over: threading.Event) -> None:
    sys.stdin.readline()
    over.set()


def _call(client, over: threading.Event) -> dict[str, list]:
    took: list[float] = []
    wrong: list[str] = []
    number = 0
    while len(wrong) < 20 and not (took and over.is_set()):
        number += 1
        begun = time.monotonic()
        try:
            answer, right = _one(client, number)
            if answer != right:
                wrong.append(f"call {number}: {answer}, not {right}")
        except Exception as error:
            wrong.append(repr(error))
        took.append(time.monotonic() - begun)
    over.wait()
    return {"took": took, "wrong": wrong}


def _one(client: Any, number: int) -> tuple[Any, Any]:
    """An answer, and what it has to be. Now and then one that streams, or the sum of a stream."""
    match number % 16:
        case 0:
            return sum(client.stream("count", 5)), 10
        case 8:
            return client.call("sum_of", iter([number, 1, 2])), number + 3
        case even if even % 2 == 0:
            return client.call("add_inline", number, 1), number + 1
        case _:
            return client.call("add", number, 1), number + 1


if __name__ == "__main__":
    main()
