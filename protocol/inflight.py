"""Calls in flight at a server, and the bytes that they hold: in total and for each client.

A call in flight is handled, or waits for a worker.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

# A client may have at most this many times the free capacity in flight, so that no client takes all
# of it: the rule of Choudhury and Hahne, Dynamic queue length thresholds for shared-memory packet
# switches (1998).
TIMES_WHAT_IS_FREE = 9


class Quota:
    """One client's calls in flight and their bytes.

    A call counts until its handler has ended, even if the client has given it up before.
    """

    __slots__ = ("__weakref__", "bytes", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self.bytes = 0


class InFlight:
    """The calls in flight at one server, and its limits.

    The bytes are those of arguments, metadata and unread items. A refusal has its reason as text.
    """

    __slots__ = ("_by_user", "bytes", "calls", "maps", "max_bytes", "max_calls")

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self.max_calls = max_calls
        self.max_bytes = max_bytes
        self.calls = 0
        self.bytes = 0
        self.maps = 0  # unfinished maps, with or without calls in flight
        self._by_user: WeakValueDictionary[str, Quota] = WeakValueDictionary()

    @property
    def room(self) -> int:
        """Free bytes; negative if messages that could not be refused exceed the limit."""
        return self.max_bytes - self.bytes

    def quota_of(self, user: str) -> Quota:
        """The quota shared by all connections of the user; a new one without a name."""
        return self._by_user.setdefault(user, Quota()) if user else Quota()

    def admit(self, quota: Quota, memory: int = 0) -> str:
        """Count one more call of `memory` bytes and return "", or return why it is refused."""
        taken = self.calls
        if quota.calls < TIMES_WHAT_IS_FREE * (self.max_calls - taken):
            if quota.bytes < TIMES_WHAT_IS_FREE * (self.max_bytes - self.bytes):
                self.calls = taken + 1
                self.bytes += memory
                quota.calls += 1
                quota.bytes += memory
                return ""
            return self._full(quota)
        if taken >= self.max_calls:
            return f"the server has {taken} calls in flight, its maximum"
        return (
            f"this client has {quota.calls} of the {taken} calls in flight: the rest is for others"
        )

    def admits(self, quota: Quota, calls: int, memory: int) -> bool:
        """Whether `admit` would surely take that number of calls, of `memory` bytes in total."""
        return quota.calls + calls <= TIMES_WHAT_IS_FREE * (
            self.max_calls - self.calls - calls
        ) and quota.bytes + memory <= TIMES_WHAT_IS_FREE * (self.max_bytes - self.bytes - memory)

    def room_for_calls(self, quota: Quota) -> int:
        """Calls that `admit` would still take from that client."""
        free = TIMES_WHAT_IS_FREE * (self.max_calls - self.calls) - quota.calls
        return (free + TIMES_WHAT_IS_FREE) // (TIMES_WHAT_IS_FREE + 1)

    def admit_bytes(self, quota: Quota, size: int) -> str:
        """Count `size` more bytes of a call and return "", or return why they are refused."""
        full = self._full(quota)
        if not full:
            self.bytes += size
            quota.bytes += size
        return full

    def hold(self, quota: Quota, memory: int = 0, calls: int = 1) -> None:
        """Count calls that cannot be refused, of `memory` bytes in total."""
        self.calls += calls
        self.bytes += memory
        quota.calls += calls
        quota.bytes += memory

    def release(self, quota: Quota, memory: int = 0, calls: int = 1) -> None:
        """Discount calls whose handlers have ended or will never begin."""
        self.calls -= calls
        self.bytes -= memory
        quota.calls -= calls
        quota.bytes -= memory

    def release_bytes(self, quota: Quota, size: int) -> None:
        """Discount `size` bytes that a call has released."""
        self.bytes -= size
        quota.bytes -= size

    def _full(self, quota: Quota) -> str:
        held = self.bytes
        if quota.bytes < TIMES_WHAT_IS_FREE * (self.max_bytes - held):
            return ""
        if held >= self.max_bytes:
            return f"the server has calls with {held:,} bytes in flight, its maximum"
        return (
            f"this client has {quota.bytes:,} of the {held:,} bytes in flight: the rest is for "
            f"others"
        )
