"""What one server takes from its clients: the options that bound it, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError

# Descriptors that connections leave to the rest of the process.
RESERVED = 100

MIB = 1024 * 1024

# What may wait for clients to read it, in times of the largest value, where nothing is said. With what may have come and is not served, and
# the holes that both leave in memory, this is less than 64 MiB for values of 16.
_UNSENT = 2

# Seconds that a drain may take at most, as clocks and timers take no infinity: 30 years.
_LONGEST = 1e9


def checked_drain_timeout(seconds: float) -> float:
    """The seconds, infinity as 30 years. Raises UsageError for what is no time."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise UsageError(f"drain_timeout must be a number of seconds from 0 on, not {seconds!r}")
    return min(seconds, _LONGEST)


@dataclass(frozen=True)
class Limits:
    """See `Server` for what each bounds. Raises UsageError for one that honest clients could not keep to."""

    max_size: int = 16 * MIB
    max_elements: int = 1_000_000
    max_messages: int = 65_536
    max_frames: int = 1024
    max_connections: int = 10_000
    max_in_flight: int = 100_000
    max_bytes_in_flight: int = 256 * MIB
    max_unserved: int | None = None
    max_unsent: int | None = None
    handshake_timeout: float = 5.0
    hello_timeout: float = 10.0

    def __post_init__(self) -> None:
        # (Not at the top: the command line reads the defaults before it loads what carries calls.)
        from ..protocol.codec import BATCH_BYTES
        from ..protocol.messages import MAX_FRAMES, MAX_MESSAGES
        from ..protocol.values import FRAME_BYTES

        self._check("max_size", FRAME_BYTES, unit=" bytes")
        self._check("max_elements", BATCH_BYTES)  # or many small calls in one batch might have more together
        self._check("max_messages", 1, MAX_MESSAGES)
        self._check("max_frames", 1, MAX_FRAMES)
        for name in ("max_connections", "max_in_flight", "max_bytes_in_flight"):
            self._check(name, 1)
        for name in ("max_unserved", "max_unsent"):
            if getattr(self, name) is not None:
                self._check(name, self.max_size, unit=" bytes, as max_size is")
        for name in ("handshake_timeout", "hello_timeout"):
            seconds = getattr(self, name)
            if (
                isinstance(seconds, bool)
                or not isinstance(seconds, (int, float))
                or not 0 < seconds <= _LONGEST
            ):
                raise UsageError(f"{name} must be a number of seconds above 0, not {seconds!r}")

    def connections(self) -> int:
        """The most at once: as many as are asked for, if the process may have so many descriptors."""
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return self.max_connections
        return min(self.max_connections, max(soft - RESERVED, soft // 2))

    def unserved(self) -> int:
        """Bytes."""
        return self.max_size if self.max_unserved is None else self.max_unserved

    def unsent(self) -> int:
        """Bytes."""
        return _UNSENT * self.max_size if self.max_unsent is None else self.max_unsent

    def _check(self, name: str, least: int, most: int | None = None, unit: str = "") -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{name} must be a whole number, not {value!r}")
        if value < least:
            raise UsageError(f"{name} must be at least {least}{unit}, not {value}")
        if most is not None and value > most:
            raise UsageError(f"{name} must be at most {most}{unit}, not {value}")
