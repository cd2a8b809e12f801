"""An honest client in a process of its own: on each line "begin" it calls all the time, until "end", and prints what it saw as JSON."""

from __future__ import annotations

import json
import sys
import threading
import time

from ringback.clients.threading import connect


def main() -> None:
    over = threading.Event()
    with connect(sys.argv[1], timeout=15) as client:
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
    while not over.is_set() and len(wrong) < 20:
        number += 1
        begun = time.monotonic()
        try:
            answer = client.call("add" if number % 2 else "add_inline", number, 1)
            if answer != number + 1:
                wrong.append(f"{number} + 1 = {answer}")
        except Exception as error:
            wrong.append(repr(error))
        took.append(time.monotonic() - begun)
    over.wait()
    return {"took": took, "wrong": wrong}


if __name__ == "__main__":
    main()
