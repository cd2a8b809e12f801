"""The balancer's data on one server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .liveness import Liveness
from .loads import Load
from .outliers import Health


class Flags(Protocol):
    """Flags of a method, as its server announces them."""

    @property
    def readonly(self) -> bool: ...

    @property
    def idempotent(self) -> bool: ...

    @property
    def once(self) -> bool: ...


class BalancedServer(Load):
    """A server to choose. `open`: it takes calls.
    `methods` are those that it has announced; `reached` is the version of its service's data that
    it is known to have."""

    __slots__ = ("health", "liveness", "methods", "open", "reached", "role", "service")

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.open = False
        self.liveness = Liveness.READY
        self.health = Health(self)
        self.service = ""
        self.role = ""
        self.reached = 0
        self.methods: Mapping[str, Flags] = {}
