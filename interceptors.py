"""Interceptors inspect, change, refuse or answer calls, in the same way at both ends.

An interceptor is a generator function that takes the call and yields once. At the `yield` the call
proceeds:

    def timing(call):
        start = time.monotonic()
        try:
            result = yield                # the rest of the call; its error is raised here
        finally:
            print(call.method, time.monotonic() - start)

An exception before the yield refuses the call. A return before the yield answers it, and the inner
interceptors and the handler do not run. After the yield an interceptor may raise, or return a value
other than None, which replaces the result.

At the server `call` is the `CurrentCall`. At the client it is a `ClientCall`, whose metadata may be
changed before the yield. An interceptor never waits, so one interceptor serves every event loop. It
sees only the start and the end of a stream.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from typing import Any

from .errors import UsageError

Interceptor = Callable[[Any], Generator[None, Any, Any]]
Finish = Callable[[Any, BaseException | None], None]


def checked(interceptor: Interceptor) -> Interceptor:
    """Return the interceptor if it is one. Raises UsageError here, and not at the first call."""
    target: Any = interceptor
    if not inspect.isroutine(interceptor):
        target = getattr(interceptor, "__call__", None)  # noqa: B004
    if not inspect.isgeneratorfunction(target):
        raise UsageError(
            f"an interceptor is a generator function that yields once, not {interceptor!r}"
        )
    return interceptor


class Interception:
    """One call on its way through the interceptors: `enter` before the call, `leave` after it."""

    __slots__ = ("_entered",)

    def __init__(self) -> None:
        self._entered: list[Generator[None, Any, Any]] = []

    def enter(
        self, interceptors: Sequence[Interceptor], call: Any
    ) -> tuple[bool, Any, BaseException | None]:
        """Run all interceptors up to their yields.

        Returns `(True, None, None)` if the call proceeds; pass its outcome to `leave`. Returns
        `(False, result, error)` if an interceptor answered or refused the call. Never raises: an
        exception of an interceptor becomes the outcome of its call.
        """
        for interceptor in interceptors:
            try:
                generator = interceptor(call)
                next(generator)
            except StopIteration as stop:
                return False, *self.leave(stop.value, None)
            except BaseException as error:
                return False, *self.leave(None, error)
            self._entered.append(generator)
        return True, None, None

    def leave(self, result: Any, error: BaseException | None) -> tuple[Any, BaseException | None]:
        """Resume the interceptors, innermost first. Each sees the outcome that the inner one
        returned."""
        while self._entered:
            generator = self._entered.pop()
            try:
                if error is None:
                    generator.send(result)
                else:
                    generator.throw(error)
                generator.close()
                raise RuntimeError("an interceptor yielded more than once")
            except StopIteration as stop:
                result, error = result if stop.value is None else stop.value, None
            except BaseException as raised:
                result, error = None, raised
        return result, error
