"""The calls of a map of an inline method, one after the other in one loop, with their arguments decoded together.

What is no plain result, an error or a future, goes the long way that any call goes.
"""

from __future__ import annotations

import time
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .... import errors
from ....handling import batch, handling
from ....protocol.values import NOTHING, pack, pack_together
from ....runtime import forks
from ..invocation import VALUES, InlineBatch
from .session import ANSWER_BYTES, IncomingMap

if TYPE_CHECKING:
    from ...methods.table import ServedMethod
    from ..dispatcher import Dispatcher

# Calls between two looks at the clock.
STEP = 32


class Together:
    """The calls of an inline method, one after the other in one loop."""

    __slots__ = ("host", "incoming", "now", "odd", "results", "rows", "served")

    def __init__(
        self, host: Dispatcher, incoming: IncomingMap, served: ServedMethod, rows: list[Any], now: float
    ) -> None:
        self.host = host
        self.incoming = incoming
        self.served = served
        self.rows = iter(rows)
        self.now = now
        self.results: list[Any] = []
        self.odd: set[int] = set()  # the places of those that are no plain results

    def run(self, context: Context, end: float) -> bool:
        """In that context: run calls until that time, or until one has set something there. True once all have run."""
        host, served, results, incoming = self.host, self.served, self.results, self.incoming
        function, generation, ends = served.method.function, forks.generation, served.ends
        batch.set(InlineBatch(incoming.own, self.now, host))
        handling.set(incoming.message)
        for args in self.rows:
            try:
                result = function(*args)
            except BaseException as error:
                host.came_back(served.method.name, error)
                self._odd(None, error)
            else:
                if generation != forks.generation:
                    host.came_back(served.method.name)
                results.append(result)
                if ends is not None:
                    ends.append(time.monotonic())
            if len(context) > 2:
                return False
            if not len(results) % STEP:
                if incoming.is_late():
                    break
                if time.monotonic() >= end:
                    return False
        for _ in self.rows:  # for which there was no time
            text = f"{served.method.name}: its time was over before it began"
            self._fail(errors.DeadlineExceeded(text))
        return True

    def finish(self) -> None:
        """All have run: hand over what came of them."""
        host, served, results, incoming = self.host, self.served, self.results, self.incoming
        if not VALUES.issuperset(map(type, results)):
            for place, result in enumerate(results):
                if type(result) not in VALUES and place not in self.odd:
                    results[place] = None
                    self._odd_at(place, result, None)
        ran = len(results) - len(self.odd)
        served.statistics.calls += ran
        served.statistics.took(time.monotonic() - self.now)
        if served.ends:
            host.ran_at_once(served, self.now)
        own = incoming.own
        own.gather()  # what became of the odd ones
        if incoming.left == ran and not own.results:
            packed = pack_together(results, min(ANSWER_BYTES, own.max_size))
            if packed is not None and not incoming.ended:
                own.end_with(packed)
        for place, result in enumerate(() if incoming.ended else results):
            if place not in self.odd:
                try:
                    own.put(place, pack(result, own.max_size))
                except BaseException:
                    self._odd_at(place, result, None)

    def _odd(self, result: Any, error: BaseException | None) -> None:
        self.results.append(None)
        self._odd_at(len(self.results) - 1, result, error)

    def _odd_at(self, place: int, result: Any, error: BaseException | None) -> None:
        """What a call has raised, or returned that is no plain value: the long way, as of any call."""
        self.odd.add(place)
        incoming = self.incoming
        call = incoming.call(place, NOTHING)
        self.host.finish_inline(incoming.own, call, self.served, result, error, self.now)

    def _fail(self, error: errors.CallError) -> None:
        self.results.append(None)
        place = len(self.results) - 1
        self.odd.add(place)
        self.host.reject(self.incoming.own, self.incoming.call(place, NOTHING), error)
