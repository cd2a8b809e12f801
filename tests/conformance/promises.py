"""What turns a promise into its sixteen tests: one for each client style on each backend."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
from processes import SOON, ServerProcess, chosen_backends
from styles import STYLES, Pause, Script, Style

style_of = cache(lambda name: STYLES[name]())


class Pair:
    """One client style and one backend."""

    def __init__(
        self, style: str, backend: str, running_server: Callable[..., ServerProcess]
    ) -> None:
        self.style: Style = style_of(style)
        self.backend = backend
        self._running_server = running_server
        self._clients: list[Any] = []

    def server(self, service: str = "service") -> ServerProcess:
        """The server of this backend that all tests share."""
        return self._running_server(self.backend, service)

    @property
    def endpoint(self) -> str:
        return self.server().endpoint

    def connect(self, *endpoints: str, **options: Any) -> Any:
        """A client of this style, which is closed when the test is over."""
        client = self.style.connect(*endpoints or (self.endpoint,), **options)
        self._clients.append(client)
        return client

    def run(self, script: Callable[[Any], Script], **others: Any) -> None:
        def whole() -> Script:
            client = self.connect()
            try:
                yield from script(client, **others)
            finally:
                for each in self._clients:
                    yield each.close(now=True)

        self.style.run(whole)


def promise(
    script: Callable[..., Script], *, styles: Sequence[str] = tuple(STYLES)
) -> Callable[..., None]:
    """Make a test of a script `(client, ...)`; its further arguments are fixtures, of which `pair`
    is one.
    """
    names = [name for name in inspect.signature(script).parameters if name != "client"]

    def test(**given: Any) -> None:
        pair = given["pair"]
        try:
            pair.run(lambda client: script(client, **{name: given[name] for name in names}))
        except BaseException as error:
            error.add_note(f"what its server has logged: {pair.server().log[-2000:] or 'nothing'}")
            raise

    test.__name__ = script.__name__
    test.__doc__ = script.__doc__
    test.__module__ = script.__module__
    kind = inspect.Parameter.KEYWORD_ONLY
    wanted = dict.fromkeys(["pair", *names])
    test.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in wanted])  # type: ignore[attr-defined]
    test.pytestmark = [pytest.mark.client_styles(*styles), *getattr(script, "pytestmark", [])]  # type: ignore[attr-defined]
    return test


def promise_for(*styles: str) -> Callable[[Callable[..., Script]], Callable[..., None]]:
    """A promise that only these client styles make."""
    return lambda script: promise(script, styles=styles)


def pairs(styles: Sequence[str]) -> list[Any]:
    """The pairs of this run, by name."""
    return [
        pytest.param((style, backend), id=f"{style}-client-on-{backend}-server")
        for backend in chosen_backends()
        for style in styles
    ]


def eventually(call: Callable[[], Any], expected: Any, within: float = SOON) -> Script:
    """Wait until the call gives what is expected."""
    end = time.monotonic() + within
    while (got := (yield call())) != expected:
        assert time.monotonic() < end, f"{got!r}, and not {expected!r}, after {within} s"
        yield Pause(0.01)


def until(condition: Callable[[], bool], within: float = SOON) -> Script:
    """Wait until the condition holds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"the condition does not hold after {within} s"
        yield Pause(0.005)
