"""The lifespan of a service: entered before the server binds, left after its last reply.

An exception from the lifespan never ends the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from ..backends.base import Loop
from ..errors import UsageError
from ..logs.errorlog import log_error
from ..runtime import forks

log = logging.getLogger("ringback.server")

# The note added to an error that the lifespan raised at the start.
NOTE = "the lifespan raised this, so the server did not start"


class Lifespan:
    """Enters and leaves, once, the context manager that `factory` makes."""

    def __init__(self, factory: Callable[[], Any], service: str, loop: Loop) -> None:
        self._factory = factory
        self._service = service
        self._loop = loop
        self._manager: Any = None
        self._generation = forks.generation

    def enter(self, entered: Callable[[Any, BaseException | None], object]) -> None:
        """Enter it, then call `entered(app, None)`, or `entered(None, error)` for a noted error."""

        def report(app: Any, error: BaseException | None) -> None:
            if error is not None:
                with suppress(BaseException):  # a user's exception class may refuse notes
                    error.add_note(NOTE)
            entered(app, error)

        try:
            self._manager = manager = self._factory()
            if not any(hasattr(manager, name) for name in ("__aenter__", "__enter__")):
                raise UsageError(
                    f"the lifespan of {self._service} gave {manager!r:.100}, not a context "
                    f"manager: "
                    "make it a generator function that yields once"
                )
            if hasattr(manager, "__aenter__"):
                self._run(manager.__aenter__(), report)
                return
            app = manager.__enter__()
        except BaseException as error:
            self._came_back(error)
            report(None, error)
        else:
            self._came_back()
            report(app, None)

    def leave(self, left: Callable[[], object]) -> None:
        """Leave it, log an exception that it raises, then call `left()`."""

        def report(_: Any, error: BaseException | None) -> None:
            if error is not None:
                log_error(log, "the lifespan of %s raised at its end", self._service, error=error)
            left()

        try:
            if hasattr(self._manager, "__aexit__"):
                self._run(self._manager.__aexit__(None, None, None), report)
                return
            self._manager.__exit__(None, None, None)
        except BaseException as error:
            self._came_back(error)
            report(None, error)
        else:
            self._came_back()
            report(None, None)

    def _came_back(self, error: BaseException | None = None) -> None:
        """Called after code of the lifespan: ends this process if that code has forked it."""
        if self._generation != forks.generation:
            forks.came_back(f"the lifespan of {self._service}", error)

    def _run(self, work: Coroutine[Any, Any, Any], report: Callable[..., object]) -> None:
        async def contained() -> tuple[Any, BaseException | None]:
            try:
                app = await work
            except BaseException as error:  # SystemExit would end the loop before the report
                self._came_back(error)
                return None, error
            self._came_back()
            return app, None

        self._loop.run_coroutine(
            contained(),
            lambda outcome, error: self._loop.call_soon_threadsafe(
                report, *(outcome or (None, error))
            ),
            copy_context(),
        )
