"""Handshakes that a server breaks off without a word: one with another key does so each time, one that starts anew a few times."""

from __future__ import annotations

# Handshakes in a row after which a client with keys gives up; and the seconds between the first of them and the last, where the server had
# the right key before.
IN_A_ROW, PATIENCE = 3, 3.0


class Broken:
    """Those with one endpoint: `count` of them, in a row."""

    def __init__(self) -> None:
        self.count = 0
        self._since = 0.0

    def add(self, now: float) -> None:
        """Another one was broken off."""
        if not self.count:
            self._since = now
        self.count += 1

    def reset(self) -> None:
        """Something else happened in between."""
        self.count = 0

    def is_hopeless(self, now: float, *, known: bool) -> bool:
        """Whether the next one would end in the same way. `known`: the server has let this client in before."""
        return self.count >= IN_A_ROW and not (known and now - self._since < PATIENCE)
