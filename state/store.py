"""`State`: the store object that users hold. `aio` is its asyncio form."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from .aio import AsyncState
from .engines.base import Engine
from .operations import Operations


class State(Operations):
    """One store, made by `open_state`; `close()` or `with` ends it.

    Any thread, greenlet and coroutine may use it.
    """

    def __init__(self, engine: Engine, url: str) -> None:
        super().__init__(engine)
        self.url = url

    @property
    def aio(self) -> AsyncState:
        """The same store for coroutines on an asyncio loop."""
        return AsyncState(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<state {self.url}>"
