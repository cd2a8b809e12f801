"""What a server has in flight: calls that are being handled or wait for that, and the bytes that these hold; in all, and of each client."""

from __future__ import annotations

from weakref import WeakValueDictionary

# One client may have so many times in flight what it leaves free, so that none takes all that there is: the rule of Choudhury and
# Hahne, Dynamic queue length thresholds for shared-memory packet switches (1998).
TIMES_WHAT_IS_FREE = 9


class Quota:
    """One client's part of it. A call is in it until its handler has ended, also where it was given up before."""

    __slots__ = ("__weakref__", "bytes", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self.bytes = 0


class InFlight:
    """Of one server, with its bounds. Whoever is refused is told why; bytes are those of arguments, metadata and unread items."""

    __slots__ = ("_by_user", "bytes", "calls", "maps", "max_bytes", "max_calls")

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self.max_calls = max_calls
        self.max_bytes = max_bytes
        self.calls = 0
        self.bytes = 0
        self.maps = 0  # that have not ended, whatever they have in flight
        self._by_user: WeakValueDictionary[str, Quota] = WeakValueDictionary()

    @property
    def room(self) -> int:
        """Bytes that may still come; less than none where what could not be refused is above the bound."""
        return self.max_bytes - self.bytes

    def quota_of(self, user: str) -> Quota:
        """One for all connections of that user; a new one for who has no name."""
        return self._by_user.setdefault(user, Quota()) if user else Quota()

    def admit(self, quota: Quota, memory: int = 0) -> str:
        """Count one more call, with so many bytes, and return ""; or say why it is not taken."""
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
            return f"the server has {taken} calls in flight, as many as it takes"
        return f"this client has {quota.calls} of the {taken} calls in flight: what is left is for others"

    def admits(self, quota: Quota, calls: int, memory: int) -> bool:
        """Whether `admit` would surely take that number of calls, with `memory` bytes in all."""
        return quota.calls + calls <= TIMES_WHAT_IS_FREE * (
            self.max_calls - self.calls - calls
        ) and quota.bytes + memory <= TIMES_WHAT_IS_FREE * (self.max_bytes - self.bytes - memory)

    def room_for_calls(self, quota: Quota) -> int:
        """How many more calls `admit` would take from that client."""
        free = TIMES_WHAT_IS_FREE * (self.max_calls - self.calls) - quota.calls
        return (free + TIMES_WHAT_IS_FREE) // (TIMES_WHAT_IS_FREE + 1)

    def admit_bytes(self, quota: Quota, size: int) -> str:
        """The same for so many bytes more of a call."""
        full = self._full(quota)
        if not full:
            self.bytes += size
            quota.bytes += size
        return full

    def hold(self, quota: Quota, memory: int = 0, calls: int = 1) -> None:
        """Count calls that are not refused, with `memory` bytes in all."""
        self.calls += calls
        self.bytes += memory
        quota.calls += calls
        quota.bytes += memory

    def release(self, quota: Quota, memory: int = 0, calls: int = 1) -> None:
        """Handlers have ended, or will never begin."""
        self.calls -= calls
        self.bytes -= memory
        quota.calls -= calls
        quota.bytes -= memory

    def release_bytes(self, quota: Quota, size: int) -> None:
        """A call needs so many of its bytes no longer."""
        self.bytes -= size
        quota.bytes -= size

    def _full(self, quota: Quota) -> str:
        held = self.bytes
        if quota.bytes < TIMES_WHAT_IS_FREE * (self.max_bytes - held):
            return ""
        if held >= self.max_bytes:
            return f"the server has calls with {held:,} bytes in flight, as many as it takes"
        return f"this client has {quota.bytes:,} of the {held:,} bytes in flight: what is left is for others"
