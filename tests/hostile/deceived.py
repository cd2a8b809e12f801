"""`python deceived.py STYLE SECONDS CALLS SEED HOSTILE HONEST`: two clients in one process.

One calls the hostile server, which answers with anything; the other calls the honest one. Each
round
fires calls of both, and reads two streams. The last line printed is JSON: calls, outcomes, faults
found.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from typing import Any

from fragile import Cat, Colour, Dog, Factory, Hashed, Post, PostStruct
from generated import Chance
from ringback import errors
from ringback.clients.scripts import Each, run

# Seconds for a call that the hostile server does not answer, and for others.
SHORT, LONG = 0.4, 8.0
# Seconds by which an ending may be late, of a process that shares its processor.
LATE = 1.5
ROUND = 30

KINDS: list[Any] = [
    Any,
    int,
    str,
    bytes,
    memoryview,
    list[int],
    dict[str, Any],
    datetime,
    Post,
    PostStruct,
    list[Post],
    Factory,
    set[Hashed],
    dict[str, frozenset[Hashed]],
    Cat | Dog,
    Colour,
]


class Watch:
    """What became of each call."""

    def __init__(self) -> None:
        self.calls = 0
        self.wrong: list[str] = []
        self.outcomes: Counter[str] = Counter()

    def complain(self, text: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(text)


class Ending:
    """One call, which has to end once and in time. `right` is its result, where that is known."""

    def __init__(self, watch: Watch, name: str, timeout: float, right: Any = None) -> None:
        self._watch, self._name, self._right = watch, name, right
        self._timeout = timeout
        self._due = time.monotonic() + timeout + LATE
        self.count = 0
        watch.calls += 1

    def _once(self) -> None:
        self.count += 1
        if self.count > 1:
            self._watch.complain(f"{self._name} has ended twice")
        if (late := time.monotonic() - self._due) > 0:
            self._watch.complain(f"{self._name} ended {late + LATE:.2f} s after its time")

    def result(self, result: Any) -> None:
        self._once()
        self._watch.outcomes["result"] += 1
        if self._right is not None and result != self._right:
            self._watch.complain(f"{self._name}: {result!r}, not {self._right!r}")

    def error(self, error: BaseException) -> None:
        self._once()
        self._watch.outcomes[type(error).__name__] += 1
        late = isinstance(error, errors.DeadlineExceeded) and self._timeout == LONG
        if self._right is not None or late or not isinstance(error, errors.CallError):
            self._watch.complain(f"{self._name}: {error!r}")


def main(name: str, seconds: float, calls: int, seed: int, hostile: str, honest: str) -> Watch:
    watch, chance = Watch(), Chance(seed)
    connect = import_module(f"ringback.clients.{name}").connect

    def fired(client: Any, method: str, ending: Ending, *args: Any, **options: Any) -> Any:
        view = client.options(**options)
        return view.fire(method, *args, callback=ending.result, errback=ending.error), ending

    def work(client: Any) -> Iterator[Any]:
        other = connect(honest, timeout=LONG)
        yield client.fire("add", 1, 2)
        yield other.fire("add", 1, 2)
        end = time.monotonic() + seconds
        while time.monotonic() < end and watch.calls < calls and not watch.wrong:
            made = []
            for number in range(ROUND):
                if number % 5 == 0:
                    which = client if chance.random() < 0.5 else other
                    ending = Ending(watch, "an honest call", LONG, number + 1)
                    made.append(fired(which, "add", ending, number, 1))
                else:
                    kind = chance.one(KINDS)
                    ending = Ending(watch, f"a call of {kind}", LONG)
                    made.append(fired(client, "fuzzed", ending, timeout=LONG, returns=kind))
            if chance.random() < 0.02:
                ending = Ending(watch, "a call that is not answered", SHORT)
                made.append(fired(client, "silent", ending, timeout=SHORT))
            for method in ("streamed", "fuzzed"):
                stream = client.options(timeout=LONG, returns=chance.one(KINDS)).stream(method)
                yield from read(stream)
            for future, _ in made:
                try:
                    yield future
                except errors.CallError:
                    pass  # its errback has counted it
        yield other.close(timeout=LONG)
        for _, ending in made:
            if ending.count != 1:
                watch.complain(f"a call has ended {ending.count} times")

    def read(stream: Any) -> Iterator[Any]:
        ending = Ending(watch, "a stream", LONG)
        try:
            yield Each(stream, lambda item: None)
            ending.result(None)
        except errors.CallError as error:
            ending.error(error)

    run(name, [hostile], work, timeout=LONG)
    return watch


if __name__ == "__main__":
    watched = main(
        sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:7]
    )
    print(
        json.dumps({"calls": watched.calls, "wrong": watched.wrong, "outcomes": watched.outcomes})
    )
