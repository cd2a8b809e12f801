"""Counts handshakes that a server breaks off without an error.

A server with another key breaks off each handshake, a restarting server only a few.
"""

from __future__ import annotations

# Broken handshakes in a row after which a client with keys gives up; and the minimum seconds
# between the first and the last of them, if the server has admitted the client before.
IN_A_ROW, PATIENCE = 3, 3.0


class Broken:
    """The broken handshakes with one endpoint: `count` of them in a row."""

    def __init__(self) -> None:
        self.count = 0
        self._since = 0.0

    def add(self, now: float) -> None:
        """Count another broken handshake."""
        if not self.count:
            self._since = now
        self.count += 1

    def reset(self) -> None:
        """Start over: another outcome came in between."""
        self.count = 0

    def is_hopeless(self, now: float, *, known: bool) -> bool:
        """Whether to give up. `known`: the server has admitted this client before."""
        return self.count >= IN_A_ROW and not (known and now - self._since < PATIENCE)
