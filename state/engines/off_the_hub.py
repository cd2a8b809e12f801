"""The store under gevent: blocking operations of a greenlet run in the hub's pool of native
threads.

Pauses let other greenlets run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, TypeVar, cast

from .base import Changes, Engine, Snapshot, Write

T = TypeVar("T")


class OffTheHub(Engine):
    """The same engine, for programs that may have greenlets."""

    blocks_thread = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.one_machine = engine.one_machine

    def read(self, names: Sequence[str], timeout: float) -> Snapshot:
        return _run(self._engine.read, names, timeout)

    def commit(
        self,
        checks: Mapping[str, int],
        writes: Mapping[str, Write],
        timeout: float,
        *,
        before: float = inf,
    ) -> int:
        return _run(lambda: self._engine.commit(checks, writes, timeout, before=before))

    def changes(self, prefix: str, since: int, limit: int, timeout: float) -> Changes:
        return _run(self._engine.changes, prefix, since, limit, timeout)

    def revision(self, timeout: float) -> int:
        return _run(self._engine.revision, timeout)

    def close(self) -> None:
        self._engine.close()


def pause(seconds: float) -> None:
    """Sleep and let other greenlets run, even if `time` is not patched."""
    hub = _hub()
    if hub is None:
        time.sleep(seconds)
    else:
        sys.modules["gevent"].sleep(seconds)


def _run(function: Callable[..., T], *args: Any) -> T:
    hub = _hub()
    if hub is None:
        return function(*args)
    result, error = hub.threadpool.apply(_outcome, (function, args))
    if error is not None:
        raise error
    return cast(T, result)


def _hub() -> Any:
    """The hub of the calling greenlet.

    None in a thread without gevent, which may block, and in the hub itself, which has to.
    """
    gevent = sys.modules.get("gevent")
    if gevent is None:
        return None
    hub = sys.modules["gevent._hub_local"].get_hub_if_exists()
    return None if hub is None or gevent.getcurrent() is hub else hub


def _outcome(
    function: Callable[..., T], args: tuple[Any, ...]
) -> tuple[T | None, Exception | None]:
    """The result or error as a value, since gevent prints an exception raised in its pool."""
    try:
        return function(*args), None
    except Exception as error:
        return None, error
