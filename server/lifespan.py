"""What a service does around the time of serving: its lifespan, entered before the first call and left after the last."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from ..backends.base import Loop, Report


class Lifespan:
    """One server's, made by the service's `factory` when it is entered: a sync or async context manager, on the serving loop.

    Whatever it raises is handed to who enters or leaves it. What was not entered is not left.
    """

    def __init__(self, factory: Callable[[], Any] | None, loop: Loop) -> None:
        self._factory = factory
        self._loop = loop
        self._entered: Any = None

    def enter(self, done: Report) -> None:
        """Calls `done(value, error)`, on the loop."""
        if self._factory is None:
            done(None, None)
            return

        def entered(value: Any, error: BaseException | None) -> None:
            if error is None:
                self._entered = lifespan
            done(value, error)

        try:
            lifespan = self._factory()
            enter = getattr(lifespan, "__aenter__", None)
            if enter is None:
                value = lifespan.__enter__()
        except BaseException as error:
            done(None, error)
        else:
            if enter is None:
                entered(value, None)
            else:
                self._run(enter, entered)

    def leave(self, done: Callable[[BaseException | None], None]) -> None:
        """Calls `done(error)`, on the loop."""
        lifespan, self._entered = self._entered, None
        if lifespan is None:
            done(None)
        elif hasattr(lifespan, "__aexit__"):
            self._run(lambda: lifespan.__aexit__(None, None, None), lambda _, error: done(error))
        else:
            try:
                lifespan.__exit__(None, None, None)
            except BaseException as error:
                done(error)
            else:
                done(None)

    def _run(self, function: Callable[[], Any], done: Report) -> None:
        async def run() -> Any:
            try:
                return True, await function()
            except BaseException as error:  # (some of these would end the loop)
                return False, error

        def ended(outcome: Any, error: BaseException | None) -> None:
            well, value = (False, error) if error is not None else outcome
            self._loop.call_soon_threadsafe(done, *((value, None) if well else (None, value)))

        self._loop.run_coroutine(run(), ended, copy_context())
