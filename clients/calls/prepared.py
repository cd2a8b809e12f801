"""A method by its name, for frequent calls."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from .arguments import plain_name

if TYPE_CHECKING:
    from ..options import ViewOptions


class PreparedMethod:
    """The result of a client's `method(name)`. Calling it is `call`.
    `call`, `fire`, `map`, `fire_map`, `notify` and `stream` are those of the client, without the
    name."""

    __slots__ = ("_client", "call", "fire", "fire_map", "map", "name", "notify", "stream")

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = plain_name(name)
        self.call = partial(client.call, self.name)
        self.fire = partial(client.fire, self.name)
        self.map = partial(client.map, self.name)
        self.fire_map = partial(client.fire_map, self.name)
        self.notify = partial(client.notify, self.name)
        self.stream = partial(client.stream, self.name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def options(self, **changes: Unpack[ViewOptions]) -> Self:
        """The same method of a view of the client, as `client.options` makes it."""
        return type(self)(self._client.options(**changes), self.name)

    def __repr__(self) -> str:
        return f"<method {self.name} of {self._client!r}>"
