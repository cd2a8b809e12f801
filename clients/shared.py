"""State shared by a client and its views: the arguments of `connect`, and all made at first use."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors
from ..backends.blocking import CUT
from ..balancing.outliers import ejection_of
from ..balancing.policies import policy_of
from ..endpoints import connectable
from ..interceptors import Interceptor
from ..interceptors import checked as checked_interceptor
from ..runtime import forks
from ..tracing import tracing_of
from ..transport.base import Transport
from .callbacks.running import Event
from .connections.core import ClientCore

if TYPE_CHECKING:
    from ..discovery.source import Source
    from ..security.curve import ClientKeys
    from .calls.cached import ResultCache
    from .calls.recorded import ClientRecorder


class Shared:
    """`balancing` and `bounds` are keyword arguments of `ClientCore`."""

    def __init__(
        self,
        places: Sequence[str],
        balancing: dict[str, Any],
        interceptors: Sequence[Interceptor],
        keys: ClientKeys | None,
        transport: Transport,
        bounds: dict[str, int],
        trace: Any = None,
    ) -> None:
        self.places = places
        self.sources: list[Source] = []
        self.endpoints: list[str] = []
        for place in places:
            source = _source(place)
            if source is None:
                self.endpoints.append(connectable(place))
            else:
                self.sources.append(source)
        self.interceptors = [checked_interceptor(interceptor) for interceptor in interceptors]
        self.max_size = bounds["max_size"]
        self.listeners: dict[object, tuple[Callable[[Event], object], str | None]] = {}
        self.state_listeners: dict[object, Callable[[str], object]] = {}
        self.generation = forks.generation
        self.owner = 0  # the thread that may use the core now
        self.loop: Any = None
        self.threads: Any = None  # of the blocking client
        self.results: ResultCache | None = None  # once a view has a cache
        self.entries = 0
        self.warned = False
        self.closed = False
        self.core: ClientCore | None = None
        self.recorder: ClientRecorder | None = None  # once the client counts its calls
        self.tracing = tracing_of(trace, endpoints=tuple(self.endpoints))
        self._settings = {"keys": keys, "transport": transport, **balancing, **bounds}
        forks.inherit(self)

    def new_core(self, loop: Any) -> ClientCore:
        core = ClientCore(loop, self.endpoints, self.sources, **self._settings)
        core.machine.table.recorder = self.recorder
        return core

    def close(self) -> None:
        self.closed = True
        self.owner = 0

    def forked(self) -> None:
        """In a forked child: nothing is left to close, and no callback runs."""
        self.close()
        if self.core is not None:
            self.core.forked()
        if self.threads is not None:
            self.threads.forked()


def give_up(shared: weakref.ref[Shared], loop: weakref.ref[Any]) -> None:
    """End all calls after a turn of the client's loop was cut; the next call connects anew."""
    there = shared()
    if there is not None and there.core is not None and there.core.loop is loop():
        there.core.give_up(CUT)
        if there.threads is not None:
            there.threads.give_up()
        there.owner, there.results, there.core = 0, None, None


def balancing_of(policy: Any, zone: str, ejection: Any) -> dict[str, Any]:
    """The options of `connect` that choose a server for each call. Raises UsageError."""
    if not isinstance(zone, str):
        raise errors.UsageError(f"zone must be a string, not {zone!r}")
    return {"policy": policy_of(policy), "zone": zone, "ejection": ejection_of(ejection)}


def keys_of(
    server_key: str | bytes | Path | None, secret_key: str | Path | None, places: Sequence[str]
) -> ClientKeys | None:
    """The keys that the options of `connect` name, if any. Raises UsageError."""
    if server_key is None and secret_key is None:
        return None
    from ..security.curve import ClientKeys, check_encrypts  # few clients need it

    for place in places:
        check_encrypts(str(place))
    return ClientKeys.asked_for(server_key, secret_key)


def _source(place: str) -> Source | None:
    """The source of server addresses, or None if the string is an endpoint itself.
    Raises UsageError."""
    if not isinstance(place, str) or place.startswith(("tcp://", "ipc://", "inproc://")):
        return None
    from ..discovery import source_of  # few clients need it

    return source_of(place)
