"""The head of a frame: its flags and its length."""

from __future__ import annotations

MORE, LONG, COMMAND = 1, 2, 4

SHORT = 256
_HEADS = [[bytes((flags, size)) for size in range(SHORT)] for flags in range(COMMAND + 1)]
SHORT_HEADS = _HEADS[0]  # heads of short last frames, by size


def head(flags: int, size: int) -> bytes:
    """The head of a frame of `size` bytes; `flags` without LONG."""
    return _HEADS[flags][size] if size < SHORT else bytes((flags | LONG,)) + size.to_bytes(8, "big")
