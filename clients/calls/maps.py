"""Maps: many calls of one method.

They are sent in messages of many if the server takes these, otherwise one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from ... import errors
from ...protocol.bounds import MAX_MAPPED
from ...protocol.messages import Map
from ...protocol.values import pack_together
from ..conversation.calls import ENDED, OutgoingCall, Recorder
from ..conversation.maps import MapOutcomes, NotTaken
from .fired import FiredCall

if TYPE_CHECKING:
    from ..connections.core import ClientCore

Row = tuple[Any, ...]

# Maximum bytes of arguments in one message.
MESSAGE_BYTES = 256 * 1024

# Messages of a `map` in flight at once.
AHEAD = 4


def rows_of(iterables: Sequence[Iterable[Any]], chunksize: object) -> Iterator[Row]:
    """The arguments of each call. Raises TypeError and ValueError for invalid arguments."""
    if not iterables:
        raise TypeError(
            "a map needs the arguments of its calls: pass an iterable for each parameter"
        )
    if type(chunksize) is not int or chunksize < 1:
        raise ValueError(f"chunksize must be a whole number above 0, not {chunksize!r}")
    return zip(*iterables, strict=False)


class Chunks:
    """Iterates over chunks of `size` rows, each with the index of its first row.
    `error` is the error of an iterable: the rows before it are returned first."""

    def __init__(self, rows: Iterator[Row], size: int) -> None:
        self._rows = rows
        self._size = size
        self._first = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[int, list[Row]]:
        some: list[Row] = []
        if self.error is None:
            try:
                some.extend(islice(self._rows, self._size))
            except Exception as error:
                self.error = error
        if not some:
            raise StopIteration
        first, self._first = self._first, self._first + len(some)
        return first, some


# Errors after which another server may take the call.
_REFUSALS = frozenset({errors.Unavailable, errors.ResourceExhausted})


def failures(outcomes: list[Any]) -> bool:
    """Whether errors are among the outcomes."""
    return any(issubclass(kind, errors.CallError) for kind in set(map(type, outcomes)))


class PartOfMap(OutgoingCall):
    """A call, or many in one message, whose outcome is part of a map's."""

    __slots__ = ("error", "place", "rows", "whole")
    whole: MapCalls
    error: BaseException | None  # the error of the whole part
    place: int  # index of its first row in the map
    rows: list[Row]

    def finish(self, result: Any, error: BaseException | None) -> None:
        whole = self.whole
        if type(error) is NotTaken:
            whole.send_again(self)
        elif self.extras is not None and self.extras.mapped is not None:
            whole.part_ended(self, result)
        else:
            whole.part_ended(self, [result if error is None else error])

    def passes(self, result: Any, error: BaseException | None) -> tuple[Any, BaseException | None]:
        """Turn the outcome of a message of many calls into the list of their outcomes."""
        self.error = error
        assert self.extras is not None
        assert self.extras.mapped is not None
        return self.extras.mapped.passes(result, error)

    def observe_end(self, error: BaseException | None, recorder: Recorder | None) -> None:
        mapped = None if self.extras is None else self.extras.mapped
        if mapped is None or recorder is None or type(error) is NotTaken:
            super().observe_end(error, None if mapped is not None else recorder)
            return
        for outcome in mapped.outcomes:
            recorder.ended(self, outcome if isinstance(outcome, errors.CallError) else None)
        super().observe_end(error, None)

    def disown(self, error: BaseException) -> None:
        self.state = ENDED
        self.whole.call.disown(error)


class MapCalls:
    """The calls of one map.
    Their outcomes form the outcome of one fired `call`, which is never sent itself."""

    def __init__(
        self, client: Any, call: FiredCall, rows: list[Row], first: int, chunksize: int
    ) -> None:
        """`client`: a `Client`. `first`: the index of the first row in the whole map."""
        self.call = call
        self._client = client
        self._core: ClientCore | None = None
        self._first = first
        self._rows = rows
        self._outcomes: list[Any] = [None] * len(rows)
        self._left = len(rows)
        self._next = 0  # index of the next row to send
        self._chunksize = chunksize
        self._parts: set[PartOfMap] = set()
        self._context = copy_context()  # all rows are sent in this context

    def begin(self, core: ClientCore) -> None:
        self._core = core
        if self._rows:
            core.maps.add(self)
            self._go_on()
        else:
            core.loop.call_soon(self._end)

    def stop(self) -> None:
        """Cancel the rest: the map has ended."""
        assert self._core is not None
        parts, self._parts = self._parts, set()
        self._next = len(self._rows)
        self._core.maps.discard(self)
        for part in parts:
            self._core.cancel(part, errors.Cancelled(f"{part.method} was cancelled by its caller"))

    def part_ended(self, part: PartOfMap, outcomes: list[Any]) -> None:
        self._parts.discard(part)
        if self.call.state is ENDED:
            return
        self._outcomes[part.place : part.place + len(outcomes)] = outcomes
        self._left -= len(outcomes)
        if len(part.rows) > 1 and not _REFUSALS.isdisjoint(map(type, outcomes)):
            again = [
                at for at, outcome in enumerate(outcomes) if self._may_go_elsewhere(part, outcome)
            ]
            self._left += len(again)
            self._repeat(part, again)
        if not self._left:
            self._end()

    def _may_go_elsewhere(self, part: PartOfMap, outcome: object) -> bool:
        """Whether the call was refused before it began: another server, or this one later, may take
        it. It is then sent as a single call."""
        if type(outcome) is errors.Unavailable:
            return outcome.started is False and outcome is not part.error
        assert self._core is not None
        return (
            type(outcome) is errors.ResourceExhausted
            and outcome is not part.error
            and self._core.machine.balances
        )

    def send_again(self, part: PartOfMap) -> None:
        """Send the rows one by one: the server takes no message of many.
        Outcomes that an earlier, lost server has sent stay."""
        self._parts.discard(part)
        assert part.extras is not None
        assert part.extras.mapped is not None
        told = part.extras.mapped.told()
        for at, outcome in told.items():
            self._settle(part.place + at, outcome)
        self._repeat(part, [at for at in range(len(part.rows)) if at not in told])

    def _repeat(self, part: PartOfMap, places: list[int]) -> None:
        """Send the calls at these indices of a part again, as single calls."""
        for at in places:
            self._context.copy().run(
                self._send_singly, part.place + at, part.rows[at : at + 1], part.deadline
            )

    def _send_singly(self, place: int, rows: Sequence[Row], deadline: float | None = None) -> None:
        """Send each row as a single call: a row may be too large for a message of many.
        `deadline`: that of the part that held these rows."""
        client, method = self._client, self.call.method
        for at, row in enumerate(rows, place):
            if self.call.state is ENDED:
                return
            view = self._keyed(client, at)
            try:
                part = view._outgoing(PartOfMap, method, row, {}, uploads=False)
            except errors.CallError as error:
                self._settle(at, error)
            else:
                if deadline is not None and (part.deadline is None or deadline < part.deadline):
                    part.deadline, part.message.timeout = deadline, None
                self._start(view, part, at, [row], row)

    def _go_on(self) -> None:
        """Send the rows that there is room for."""
        core = self._core
        assert core is not None
        while self._next < len(self._rows) and self.call.state is not ENDED:
            if core.full and not core.closed:
                core.when_room(self._go_on_later)
                return
            place = self._next
            self._next += min(self._chunksize, MAX_MAPPED, core.room)
            self._context.copy().run(self._send, place, self._rows[place : self._next])
        core.maps.discard(self)

    def _go_on_later(self) -> None:
        """Continue in a turn of the loop.
        An error of a caller's class or a signal ends the map and is raised on."""
        try:
            self._go_on()
        except BaseException as error:
            self.stop()
            if self.call.state is not ENDED:
                self.call.state = ENDED
                text = f"{self.call.method}: a map could not be sent: {errors.described(error)}"
                self.call.finish(None, errors.Cancelled(text))
            raise

    def _send(self, place: int, rows: list[Row]) -> None:
        client = self._client
        if len(rows) == 1 or not client._plain:
            self._send_singly(place, rows)
            return
        packed = pack_together(rows, min(MESSAGE_BYTES, client._options.room))
        if packed is None:
            middle = len(rows) // 2
            self._send(place, rows[:middle])
            self._send(place + middle, rows[middle:])
            return
        try:
            part = client._outgoing(PartOfMap, self.call.method, (), {})
        except errors.CallError as error:
            for at in range(place, place + len(rows)):
                self._settle(at, error)
            return
        message, extras, mapped = part.message, part.extended(), MapOutcomes(len(rows))
        options = message.options
        part.message = Map(
            0, message.method, packed, None, message.timeout, 0, options, self._first + place
        )
        extras.mapped, extras.passes = mapped, part.passes
        extras.size, extras.hedged = len(packed), False
        self._start(client, part, place, rows, ())

    def _start(self, client: Any, part: PartOfMap, place: int, rows: list[Row], args: Row) -> None:
        assert self._core is not None
        part.whole, part.place, part.rows, part.error = self, place, rows, None
        self._parts.add(part)
        client._start(self._core, part, args, {})

    def _keyed(self, client: Any, place: int) -> Any:
        """The client for the call at that index.
        If the map has a key, the call gets its own, the same that a server gives it."""
        key = client._options.idempotency_key
        return (
            client
            if key is None
            else client.options(idempotency_key=f"{key}-{self._first + place}")
        )

    def _settle(self, place: int, outcome: object) -> None:
        """Store the outcome of a call that is not sent, or not again."""
        self._outcomes[place] = outcome
        self._left -= 1
        if not self._left:
            assert self._core is not None
            self._core.loop.call_soon(self._end)

    def _end(self) -> None:
        call, core = self.call, self._core
        if call.state is ENDED:
            return
        call.state = ENDED
        outcomes, self._outcomes, self._rows = self._outcomes, [], []
        assert core is not None
        if (
            core.closed
            and outcomes
            and all(isinstance(outcome, errors.CallError) for outcome in outcomes)
        ):
            call.finish(None, outcomes[0])
        else:
            call.finish(outcomes, None)
