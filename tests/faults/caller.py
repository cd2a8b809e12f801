"""`python caller.py STYLE WINDOW LEAST FILE ENDPOINT...`: makes calls, each with an argument of its
own, until there are at least so many
and the file is there. Prints a line when it is under way, and at the end, as JSON, how many there
were, how they ended, and how many
did not end exactly once.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter, deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

import ringback
from ringback.clients.scripts import run

# Calls after which it is under way.
BEGUN = 200


def main(style: str, window: int, least: int, end: Path, endpoints: list[str]) -> None:
    ended: list[int] = []
    outcomes: Counter[str] = Counter()

    def work(client: Any) -> Generator[Any, Any, None]:
        waiting: deque[Any] = deque()
        for number in itertools.takewhile(
            lambda n: n < least or n % 100 or not end.exists(), itertools.count()
        ):
            if number == BEGUN:
                print("begun", flush=True)
            ended.append(0)

            def callback(result: Any, number: int = number) -> None:
                ended[number] += 1
                outcomes["right" if result == f"call {number}" else "wrong"] += 1

            def errback(error: BaseException, number: int = number) -> None:
                ended[number] += 1
                outcomes[f"{type(error).__name__}, started={getattr(error, 'started', None)}"] += 1

            waiting.append(
                client.fire("echo", f"call {number}", callback=callback, errback=errback)
            )
            while len(waiting) >= window:
                yield from ended_somehow(waiting.popleft())
        for future in waiting:
            yield from ended_somehow(future)

    run(style, endpoints, work, timeout=60)
    not_once = sum(count != 1 for count in ended)
    print(json.dumps({"calls": len(ended), "outcomes": outcomes, "not once": not_once}))


def ended_somehow(future: Any) -> Generator[Any, Any, None]:
    try:
        yield future
    except ringback.errors.CallError:
        pass  # the errback has counted it


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
