"""The head of a frame: its flags, and how long it is."""

from __future__ import annotations

MORE, LONG, COMMAND = 1, 2, 4

SHORT = 256
_HEADS = [[bytes((flags, size)) for size in range(SHORT)] for flags in range(COMMAND + 1)]
SHORT_HEADS = _HEADS[0]  # of a frame that is the last, by its size


def head(flags: int, size: int) -> bytes:
    """What stands before so many bytes; `flags` without LONG."""
    return _HEADS[flags][size] if size < SHORT else bytes((flags | LONG,)) + size.to_bytes(8, "big")
