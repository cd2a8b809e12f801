"""What the tests of `ringback.testing` serve."""

from __future__ import annotations

from collections.abc import Iterator

import ringback


class Life:
    """A service whose lifespan notes when it begins and ends."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.service = ringback.Service("calc")
        self.service.lifespan(self._life)
        self.service.method(self.add)
        self.service.method(self.app)

    def _life(self) -> Iterator[int]:
        self.told.append("began")
        yield 42
        self.told.append("ended")

    def add(self, a: int, b: int) -> int:
        return a + b

    def app(self) -> int:
        return ringback.current_call().app
