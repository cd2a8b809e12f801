"""Calls of methods with `cache=`.

A call gets a cached result, or waits for a running call with the same arguments, or runs itself.
Interceptors run before a call gets here, and again for every outcome. All of this runs on the
serving loop. `state/cache.py` defines entries and flights.
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
    """A factory for the call.

    None if arguments came in separate frames: such a call bypasses the cache.
    """
    key = key_of(message.args, message.kwargs) if size == encoded(message) else None
    return None if key is None else partial(CachedCall, key)


class CachedCall(Invocation):
    """A call of a method with `cache=`.

    While it runs, it has a `flight`. If it is cancelled while others wait, the next one takes over
    the flight.
    """

    __slots__ = ("flight", "key")

    def __init__(self, key: bytes, *args: Any) -> None:
        super().__init__(*args)
        self.key = key
        self.flight: Flight[CachedCall] | None = None
        self.queue = None  # until it has to run

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
                # Later, since an inline handler would delay this caller's reply.
                self.host.post(again._fly, flight, self.came)
            else:
                entries.give_up(flight)

    def cancel(self) -> None:
        self.ended = True
        super().cancel()
        # Later, since the waiting calls may be cancelled in this same step.
        self.host.post(self._leave if self.flight is None else self._hand_on)

    def landed(
        self, result: Any, error: BaseException | None, ran: bool
    ) -> tuple[Any, BaseException | None]:
        """Store the result of the handler, and complete all waiting calls with it.

        Returns the outcome of this call itself.
        """
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
                told = errors.from_wire(*errors.to_wire(error))  # to log it once
            for call in flight.waiting:
                self.host.complete(call, None, told)
            return None, error
        entries.land(flight, value, len(self.key) + len(value), time.monotonic())
        for call in flight.waiting:
            self.host.complete(call, *call._fitting(value))
        return self._fitting(value)

    def _fly(self, flight: Flight[CachedCall], now: float) -> None:
        """Run the handler, for all calls that wait for the flight."""
        self.flight, self.queue = flight, self.served.queue
        cache = self.method.cache
        assert cache is not None
        if flight.tags is None:
            try:
                flight.tags = self.within(cache.tags_of, self.method.name, self.args, self.kwargs)
            except BaseException as error:  # raised by the service's function
                self.host.complete(self, None, error)
                return
        self.host.launcher.take(self, now)

    def _again(self) -> CachedCall:
        """A background call that fetches a fresh result, since this call gets a stale one."""
        call = (
            self.session,
            0,
            self.served,
            self.args,
            self.kwargs,
            self.deadline,
            self.options,
            self.came,
        )
        again = CachedCall(self.key, self.host, *call)
        again.memory = self.memory
        return again

    def _hand_on(self) -> None:
        """Let the next waiting call run, since this one was cancelled or could not start."""
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
        """Stop waiting for another call's run, if it still waits."""
        entries = self.served.cached
        assert entries is not None
        if entries.leave(self.key, self):
            self.drop()

    def _is_own(self, error: BaseException) -> bool:
        """Whether an error is due to this call's own cancellation or deadline."""
        return self.ended or (
            self.deadline is not None and errors.is_a(error, errors.DeadlineExceeded)
        )

    def _fitting(self, value: Raw) -> tuple[Any, BaseException | None]:
        """A cached value as the outcome for this call.

        Decoded to plain data if there are interceptors.
        """
        try:
            return self.fitting(value) if self.interception is None else plain(
                self.fitting(value)
            ), None
        except errors.ResourceExhausted as error:
            return None, error
        except Exception as error:  # for example, a malformed extension type
            text = f"the result of {self.method.name} cannot be read: {errors.described(error)}"
            return None, errors.RemoteError(errors.name_of(error), text)
