"""Calls of methods with `cache=`: each is answered from what is kept, waits for the one that runs for the same arguments, or runs.

Interceptors have been passed when a call gets here, and are passed by every outcome on its way out. All of it happens on the serving loop.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Raw

from .... import errors
from ....protocol.messages import Call
from ....protocol.values import key_of, whole
from ....state.cache import MISSING, Flight
from ..memory import encoded
from .invocation import Invocation, plain


def cached(message: Call, size: int) -> Callable[..., CachedCall] | None:
    """What makes the call; None for one whose arguments came in frames of their own, which runs as ever."""
    key = key_of(message.args, message.kwargs) if size == encoded(message) else None
    return None if key is None else partial(CachedCall, key)


class CachedCall(Invocation):
    """One that runs has a `flight`, and hands it on if it is given up while others wait."""

    __slots__ = ("flight", "key")

    def __init__(self, key: bytes, *args: Any) -> None:
        super().__init__(*args)
        self.key = key
        self.flight: Flight[CachedCall] | None = None
        self.queue = None  # until it turns out that it has to run

    def start(self) -> None:
        if self.flight is not None:
            super().start()
            return
        entries = self.served.cached
        assert entries is not None
        value, flight = entries.ask(self.key, self, self.came, *self.host.versions_of(self.options))
        again = None if flight is None or value is MISSING else self._again()
        if value is not MISSING:
            self.host.complete(self, *self._fitting(value))
        if flight is not None:
            if again is None:
                self._fly(flight, self.came)
            elif self.host.admits(again):
                # (not now: the handler may be inline, and who asked is not to wait for it)
                self.host.post(again._fly, flight, self.came)
            else:
                entries.give_up(flight)

    def cancel(self) -> None:
        self.ended = True
        super().cancel()
        # (not now: those who wait may be cancelled in this same step)
        self.host.post(self._leave if self.flight is None else self._hand_on)

    def landed(self, result: Any, error: BaseException | None, ran: bool) -> tuple[Any, BaseException | None]:
        """Its handler has ended: keep the result, and give it to all who wait. Returns the outcome that is its own."""
        flight, entries = self.flight, self.served.cached
        assert flight is not None
        assert entries is not None
        if error is None:
            try:
                value = Raw(whole(result if self.interception is None else self.pack(result)))
            except errors.CallError as unsendable:
                error = unsendable
        elif not ran or self._is_own(error):
            self.host.post(self._hand_on)
            return None, error
        self.flight = None
        if error is not None:
            entries.give_up(flight)
            told = error
            if not errors.is_ours(error) and not errors.is_a(error, CancelledError):
                told = errors.from_wire(*errors.to_wire(error))  # so that one error is logged once
            for call in flight.waiting:
                self.host.complete(call, None, told)
            return None, error
        entries.land(flight, value, len(self.key) + len(value), time.monotonic())
        for call in flight.waiting:
            self.host.complete(call, *call._fitting(value))
        return self._fitting(value)

    def _fly(self, flight: Flight[CachedCall], now: float) -> None:
        """Run, for all who want the same."""
        self.flight, self.queue = flight, self.served.queue
        cache = self.method.cache
        assert cache is not None
        if flight.tags is None:
            try:
                flight.tags = self.within(cache.tags_of, self.method.name, self.args, self.kwargs)
            except BaseException as error:  # of the service's own function
                self.host.complete(self, None, error)
                return
        self.host.launcher.take(self, now)

    def _again(self) -> CachedCall:
        """What runs in the background for a call that is answered with what is stale."""
        call = (self.session, 0, self.served, self.args, self.kwargs, self.deadline, self.options, self.came)
        again = CachedCall(self.key, self.host, *call)
        again.memory = self.memory
        return again

    def _hand_on(self) -> None:
        """It was given up, or could not begin: the next of those who wait runs."""
        flight, self.flight = self.flight, None
        if flight is None:
            return
        while flight.waiting:
            call = next(iter(flight.waiting))
            del flight.waiting[call]
            if not call.ended:
                call._fly(flight, time.monotonic())
                return
            call.drop()
        entries = self.served.cached
        assert entries is not None
        entries.give_up(flight)

    def _leave(self) -> None:
        """It waits for another's run no longer, if it does."""
        entries = self.served.cached
        assert entries is not None
        if entries.leave(self.key, self):
            self.drop()

    def _is_own(self, error: BaseException) -> bool:
        """Whether an error comes of this call's having been given up, or of its deadline, which others need not have."""
        return self.ended or (self.deadline is not None and errors.is_a(error, errors.DeadlineExceeded))

    def _fitting(self, value: Raw) -> tuple[Any, BaseException | None]:
        """What is kept as the outcome for this call: plain data, where interceptors are to see it."""
        try:
            return self.fitting(value) if self.interception is None else plain(self.fitting(value)), None
        except errors.ResourceExhausted as error:
            return None, error
        except Exception as error:  # an extension that is not what it says, say
            text = f"the result of {self.method.name} cannot be read: {errors.described(error)}"
            return None, errors.RemoteError(errors.name_of(error), text)
