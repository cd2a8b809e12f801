"""Consistent state under concurrent calls.

Versioned data, transactions, locks with fencing tokens, idempotency keys and caching:

    state = ringback.open_state("sqlite:///shop.db")
    with state.lock("stock") as lock:
        state.put("stock/9", 41, fence=lock)

The storage engines share one small interface (`engines/base.py`): SQLite, embedded, for one
machine; Valkey or Redis for many machines; memory for tests.

Terms: a *key* has a value and a *version*, 0 if it does not exist. An engine stores them as *rows*
with *revisions*. A *lease* is a claim that ends at a time unless it is renewed. A *fence* is a
lock's name and fencing token, with which the store refuses writes of former holders.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote

from ..errors import UsageError
from .engines.base import Engine, Missing
from .locks.leases import Fence
from .locks.lock import Lock
from .operations import Changed, Versioned
from .store import State
from .transactions import Transaction

_OF_VALKEY = ("valkey", "valkeys", "redis", "rediss", "valkey+unix", "unix")
SCHEMES = ("sqlite", "memory", *_OF_VALKEY)

_FORMS = "sqlite:///file.db, valkey://host:6379/0, redis://host:6379/0, or memory:// for tests"


def open_state(url: str, *, create: bool = True) -> State:
    """Open the store at that URL. Any thread, greenlet and coroutine of this process may use it.

    - `sqlite:///relative.db` or `sqlite:////absolute.db`. With `?synchronous=normal` commits
      survive the death of processes, but not a power failure.
    - `valkey://` or `redis://` with host, port and database. `?prefix=` separates several stores.
    - `memory://` is a private store in this process, for tests. All who open `memory://NAME` in
      this process share one store.

    Raises UsageError for an invalid URL or a store that cannot be opened. A missing store is
    created, or with `create=False` raises Missing, a UsageError.
    """
    if not isinstance(url, str) or "://" not in url:
        raise UsageError(f"{url!r} is not a state store: use {_FORMS}")
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    return State(_engine(scheme, place, options, url, create), url)


def _engine(scheme: str, place: str, options: dict[str, str], url: str, create: bool) -> Engine:
    if scheme == "sqlite":
        if not place.startswith("/") or len(place) < 2:
            raise UsageError(
                f"{url!r} names no file: use sqlite:///file.db, or sqlite:////absolute/file.db"
            )
        path = unquote(place[1:])
        if path == ":memory:":
            raise UsageError(
                f"{url!r} is not a file: use sqlite:///file.db, or memory:// for a store that ends with this process"
            )
        from .engines.sqlite import SqliteEngine

        return SqliteEngine(path, create=create, **_only({"synchronous"}, options, url))
    if scheme == "memory":
        from .engines.memory import MemoryEngine

        return MemoryEngine(place, create=create, **_only(set(), options, url))
    if scheme in _OF_VALKEY:
        from .engines.valkey import ValkeyEngine

        taken: dict[str, Any] = {"prefix": options.pop("prefix")} if "prefix" in options else {}
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return ValkeyEngine(f"{scheme}://{place}" + (f"?{query}" if query else ""), **taken)
    raise UsageError(f"there is no state store {scheme!r}: use {_FORMS}")


def _only(allowed: set[str], options: dict[str, str], url: str) -> dict[str, str]:
    for name in options:
        if name not in allowed:
            raise UsageError(
                f"{url!r}: there is no option "
                f"{name!r}{', only ' if allowed else ''}{', '.join(sorted(allowed))}"
            )
    return options


__all__ = ["Changed", "Fence", "Lock", "Missing", "State", "Transaction", "Versioned", "open_state"]
