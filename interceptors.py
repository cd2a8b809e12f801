"""The seam through which anything may look at, change, refuse or answer a call: the same at both ends.

An interceptor is a generator function that takes the call and yields once; the call goes on at the `yield`:

    def timing(call):
        start = time.monotonic()
        try:
            result = yield                # the rest of the call; its error is raised here
        finally:
            print(call.method, time.monotonic() - start)

What it raises before the yield refuses the call; what it returns before the yield answers it, and nothing further in runs. After the
yield it may raise, or return something other than None, which is then the result. At the
server `call` is the `CurrentCall`; at the client it is a `ClientCall`, whose metadata may be changed before the
yield. It never waits, so one interceptor serves every event loop. Of a stream it sees the start and the end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from typing import Any

from .errors import UsageError

Interceptor = Callable[[Any], Generator[None, Any, Any]]
Finish = Callable[[Any, BaseException | None], None]


def checked(interceptor: Interceptor) -> Interceptor:
    """The interceptor, if it is one. Raises UsageError otherwise, and not at the first call."""
    target: Any = interceptor if inspect.isroutine(interceptor) else getattr(interceptor, "__call__", None)  # noqa: B004
    if not inspect.isgeneratorfunction(target):
        raise UsageError(f"an interceptor is a generator function that yields once, not {interceptor!r}")
    return interceptor


class Interception:
    """One call on its way through the interceptors: in by `enter`, out by `leave`."""

    __slots__ = ("_entered",)

    def __init__(self) -> None:
        self._entered: list[Generator[None, Any, Any]] = []

    def enter(self, interceptors: Sequence[Interceptor], call: Any) -> tuple[bool, Any, BaseException | None]:
        """`(True, None, None)`: the call goes on, and `leave` is to be called with its outcome. `(False, result, error)`: an
        interceptor answered or refused it. Whatever an interceptor raises is an outcome of its call; nothing is raised here."""
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
        """Out again, innermost first; each sees what the one inside it made of the outcome."""
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
