"""A cache of results by key: expiry, bounds, invalidation by tag, and one run at a time per key.

Servers and clients use it. It must not know loops, clocks or calls: the time is an argument, and a
waiter is any object. Eviction is LRU. A stale result is served while a fresh one is fetched
(stale-while-revalidate, RFC 5861).

Terms: an *entry* is a cached result. A *flight* is a run whose result several waiters share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..backends import native
from ..errors import UsageError

W = TypeVar("W")

Tags = str | Iterable[str]

# Maximum bytes of a tag, since tags are sent to other processes.
LONGEST_TAG = 255

# The value for a missing entry, since None may be a cached result.
MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Cache:
    """The settings of a cache. Raises UsageError.

    - `seconds`: time for which results are fresh.
    - `stale`: further seconds for which the old result is returned while a new one is fetched in
      the background.
    - `entries`, `bytes`: limits; the least recently used entry is evicted first.
    - `tags`: names under which results can be invalidated, or a function of the call's arguments
      that returns them.
    """

    seconds: float
    stale: float = 0.0
    entries: int = 10_000
    bytes: int = 64 * 1024 * 1024
    tags: Tags | Callable[..., Tags] = ()

    def __post_init__(self) -> None:
        for name, least in (("stale", 0), ("entries", 1), ("bytes", 1)):
            value = getattr(self, name)
            if not _is_number(value) or value < least:
                raise UsageError(f"{name} of a cache must be at least {least}, not {value!r}")
        if not _is_number(self.seconds) or not self.seconds > 0:
            raise UsageError(f"seconds of a cache must be above 0, not {self.seconds!r}")
        if not callable(self.tags):
            object.__setattr__(self, "tags", tuple(sorted(checked_tags(self.tags))))

    def tags_of(
        self, method: str, args: Collection[Any], kwargs: Mapping[str, Any]
    ) -> frozenset[str]:
        """The tags of one call: the configured ones and the method's name."""
        tags = self.tags(*args, **kwargs) if callable(self.tags) else self.tags
        return frozenset((method, *checked_tags(tags)))


def cache_of(value: Cache | float | None) -> Cache | None:
    """The cache settings; a plain number means `Cache(seconds)`. Raises UsageError for invalid
    ones."""
    return value if value is None or isinstance(value, Cache) else Cache(value)


class Flight(Generic[W]):
    """One run whose result all its waiters receive.

    The result is computed from data of `version` or newer. `tags` is None until they are known;
    until then any tag may apply.
    """

    __slots__ = ("key", "tags", "version", "waiting")

    def __init__(self, key: Hashable, version: int) -> None:
        self.key = key
        self.version = version
        self.tags: frozenset[str] | None = None
        self.waiting: dict[W, None] = {}  # in order of arrival


class _Entry:
    __slots__ = ("born", "size", "tags", "value", "version")

    def __init__(
        self, value: Any, size: int, tags: frozenset[str], born: float, version: int
    ) -> None:
        self.value = value
        self.size = size
        self.tags = tags
        self.born = born
        self.version = version


class Entries(Generic[W]):
    """The entries of one `Cache`.

    One thread at a time may use it, except for `invalidate`, which is thread-safe.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.hits = self.stale = self.misses = self.shared = self.evictions = 0
        self.bytes = 0
        self._entries: OrderedDict[Hashable, _Entry] = (
            OrderedDict()
        )  # the least recently used first
        self._tagged: dict[str, set[Hashable]] = {}
        self._flights: dict[Hashable, Flight[W]] = {}
        self._lock = native.allocate_lock()  # a native thread may invalidate under gevent too

    def __len__(self) -> int:
        return len(self._entries)

    def ask(
        self, key: Hashable, who: W, now: float, wanted: int = 0, version: int = 0
    ) -> tuple[Any, Flight[W] | None]:
        """Look up a key. Returns `(value, flight)`.

        If there is a value, it is the result. If there is a flight, the caller must run it and then
        `land` it. If there is neither, another run is in progress and `who` waits for it.

        An entry whose data may be older than version `wanted` is discarded. `version` is the data
        version that a run starting now will see.
        """
        with self._lock:
            entry = self._entries.get(key)
            flight = self._flights.get(key)
            if entry is not None and entry.version < wanted:
                self._remove(key)
                entry = None
            if flight is not None and flight.version < wanted:
                del self._flights[key]  # only its present waiters get its result
                flight = None
            if entry is not None:
                age = now - entry.born
                if age < self.cache.seconds:
                    self.hits += 1
                    self._entries.move_to_end(key)
                    return entry.value, None
                if age < self.cache.seconds + self.cache.stale:
                    self.stale += 1
                    self._entries.move_to_end(key)
                    return entry.value, self._take_off(key, version) if flight is None else None
                self._remove(key)
            if flight is None:
                self.misses += 1
                return MISSING, self._take_off(key, version)
            self.shared += 1
            flight.waiting[who] = None
            return MISSING, None

    def land(self, flight: Flight[W], value: Any, size: int, now: float) -> None:
        """Store the value that the flight returned, unless it was invalidated meanwhile.

        `size` is its size in bytes. No further waiter can join the flight.
        """
        key = flight.key
        with self._lock:
            if self._flights.get(key) is not flight:
                return
            del self._flights[key]
            if value is MISSING or flight.tags is None or size > self.cache.bytes:
                return
            if key in self._entries:
                self._remove(key)
            self._entries[key] = _Entry(value, size, flight.tags, now, flight.version)
            self.bytes += size
            for tag in flight.tags:
                self._tagged.setdefault(tag, set()).add(key)
            while len(self._entries) > self.cache.entries or self.bytes > self.cache.bytes:
                self.evictions += 1
                self._remove(next(iter(self._entries)))

    def leave(self, key: Hashable, who: W) -> bool:
        """Stop waiting. False if `who` does not wait, or waits for a flight that others can no
        longer join."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None or who not in flight.waiting:
                return False
            del flight.waiting[who]
            return True

    def give_up(self, flight: Flight[W]) -> None:
        """End a flight that returned no value. A stale entry remains for its remaining time."""
        self.land(flight, MISSING, 0, 0.0)

    def invalidate(self, tags: Collection[str]) -> None:
        """Remove the entries that have one of these tags, or all entries if no tag is given.

        After this returns, no caller receives them. Flights with these tags serve only their
        present waiters.
        """
        with self._lock:
            if not tags:
                self._entries.clear()
                self._tagged.clear()
                self._flights.clear()
                self.bytes = 0
                return
            for tag in tags:
                for key in list(self._tagged.get(tag, ())):
                    self._remove(key)
            for key, flight in list(self._flights.items()):
                if flight.tags is None or not flight.tags.isdisjoint(tags):
                    del self._flights[key]

    def outcomes(self) -> dict[str, int]:
        """The number of calls by kind of answer."""
        return {"hit": self.hits, "stale": self.stale, "miss": self.misses, "shared": self.shared}

    def counts(self) -> dict[str, int]:
        """All counters as plain data."""
        return {
            "hits": self.hits,
            "stale": self.stale,
            "misses": self.misses,
            "shared": self.shared,
            "evictions": self.evictions,
            "entries": len(self._entries),
            "bytes": self.bytes,
        }

    def _take_off(self, key: Hashable, version: int) -> Flight[W]:
        flight = self._flights[key] = Flight(key, version)
        return flight

    def _remove(self, key: Hashable) -> None:
        entry = self._entries.pop(key)
        self.bytes -= entry.size
        for tag in entry.tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def checked_tags(tags: Tags) -> tuple[str, ...]:
    """The tags as a tuple; a string is one tag. Raises UsageError for invalid tags."""
    found = (tags,) if isinstance(tags, str) else tuple(tags)
    for tag in found:
        if not isinstance(tag, str) or not 0 < len(tag.encode(errors="replace")) <= LONGEST_TAG:
            raise UsageError(
                f"a tag must be a string of 1 to {LONGEST_TAG} bytes, not {tag!r:.100}"
            )
    return found
