"""What a server or a client keeps of results, by key: for a time, within bounds, until a tag of theirs is invalidated, and with one run at
a time for each key.

It knows no loop, no clock and no calls: the time comes in as an argument, and who asks is anything. The bounds and the order in which
they tell are those of LRU; to answer with what is old while it is fetched anew is RFC 5861's stale-while-revalidate.
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

# Bytes of a tag at most: it is told to others.
LONGEST_TAG = 255

# What is answered where nothing is kept: None may be.
MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Cache:
    """How results are kept. `seconds`: they are fresh for so long. `stale`: for so many more seconds the old one is the answer, while a
    new one is fetched in the background. `entries` and `bytes` bound what is kept: what was asked for least recently goes first. `tags`:
    names under which results can be invalidated, or a function of the call's arguments that returns them. Raises UsageError."""

    seconds: float
    stale: float = 0.0
    entries: int = 10_000
    bytes: int = 64 * 1024 * 1024
    tags: Tags | Callable[..., Tags] = ()

    def __post_init__(self) -> None:
        for name, least in (("stale", 0), ("entries", 1), ("bytes", 1)):
            value = getattr(self, name)
            if not _is_number(value) or value < least:
                raise UsageError(f"of a cache, {name} must be at least {least}, not {value!r}")
        if not _is_number(self.seconds) or not self.seconds > 0:
            raise UsageError(f"of a cache, seconds must be above 0, not {self.seconds!r}")
        if not callable(self.tags):
            object.__setattr__(self, "tags", tuple(sorted(checked_tags(self.tags))))

    def tags_of(self, method: str, args: Collection[Any], kwargs: Mapping[str, Any]) -> frozenset[str]:
        """Those of one call: what is told, and the name of its method."""
        tags = self.tags(*args, **kwargs) if callable(self.tags) else self.tags
        return frozenset((method, *checked_tags(tags)))


def cache_of(value: Cache | float | None) -> Cache | None:
    """A plain number says for how many seconds. Raises UsageError for what is no cache."""
    return value if value is None or isinstance(value, Cache) else Cache(value)


class Flight(Generic[W]):
    """One run, for all who want what it brings, which is computed from data of its `version` or newer. `tags` are None until they are
    known: then every tag may be one of them."""

    __slots__ = ("key", "tags", "version", "waiting")

    def __init__(self, key: Hashable, version: int) -> None:
        self.key = key
        self.version = version
        self.tags: frozenset[str] | None = None
        self.waiting: dict[W, None] = {}  # in the order in which they came


class _Entry:
    __slots__ = ("born", "size", "tags", "value", "version")

    def __init__(self, value: Any, size: int, tags: frozenset[str], born: float, version: int) -> None:
        self.value = value
        self.size = size
        self.tags = tags
        self.born = born
        self.version = version


class Entries(Generic[W]):
    """What is kept under one `Cache`. `ask` and what follows from it belong to one thread at a time; `invalidate` to any."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.hits = self.stale = self.misses = self.shared = self.evictions = 0
        self.bytes = 0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()  # the least recently asked for first
        self._tagged: dict[str, set[Hashable]] = {}
        self._flights: dict[Hashable, Flight[W]] = {}
        self._lock = native.allocate_lock()  # a native thread may invalidate under gevent too

    def __len__(self) -> int:
        return len(self._entries)

    def ask(
        self, key: Hashable, who: W, now: float, wanted: int = 0, version: int = 0
    ) -> tuple[Any, Flight[W] | None]:
        """`(value, flight)`: the value, if there is one, is the answer; the flight, if there is one, is to be run, and then landed.
        Where there is neither, another runs it, and `who` waits for it. What was computed from data that may be older than the `wanted`
        version is not the answer, and forgotten; `version` is that of the data that a run will see which begins now."""
        with self._lock:
            entry = self._entries.get(key)
            flight = self._flights.get(key)
            if entry is not None and entry.version < wanted:
                self._remove(key)
                entry = None
            if flight is not None and flight.version < wanted:
                del self._flights[key]  # it is for those alone who wait for it already
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
        """The flight has brought that, of so many bytes: keep it, unless it was invalidated on the way. Nobody joins it any more."""
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
        """Wait no longer; False for who does not, or waits for what others can join no more."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None or who not in flight.waiting:
                return False
            del flight.waiting[who]
            return True

    def give_up(self, flight: Flight[W]) -> None:
        """It brought nothing. (What is stale stays, for as long as it may.)"""
        self.land(flight, MISSING, 0, 0.0)

    def invalidate(self, tags: Collection[str]) -> None:
        """Forget what has one of these tags; all, where none is named. When this returns, nobody is answered with it any more, and what
        is under way is for those alone who wait for it already."""
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
        """How many calls were answered in each way."""
        return {"hit": self.hits, "stale": self.stale, "miss": self.misses, "shared": self.shared}

    def counts(self) -> dict[str, int]:
        """As plain data."""
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
    """One string is one tag. Raises UsageError for what are none."""
    found = (tags,) if isinstance(tags, str) else tuple(tags)
    for tag in found:
        if not isinstance(tag, str) or not 0 < len(tag.encode(errors="replace")) <= LONGEST_TAG:
            raise UsageError(f"a tag is a string of 1 to {LONGEST_TAG} bytes, not {tag!r:.100}")
    return found
