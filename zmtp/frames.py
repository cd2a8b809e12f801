"""The head of a frame: its flags, and how long it is."""

from __future__ import annotations

MORE, LONG, COMMAND = 1, 2, 4

_SHORT = 256
_HEADS = [[bytes((flags, size)) for size in range(_SHORT)] for flags in range(COMMAND + 1)]


def head(flags: int, size: int) -> bytes:
    """What stands before so many bytes; `flags` without LONG."""
    return _HEADS[flags][size] if size < _SHORT else bytes((flags | LONG,)) + size.to_bytes(8, "big")
