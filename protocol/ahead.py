"""How far a client's items are ahead of a server's reading: it may give credit without end and read nothing, and what libzmq holds for it
nobody can see. So it is asked from time to time, by a ping among the items, whose answer it cannot know before it has read that far.
"""

from __future__ import annotations

import secrets

from .messages import Ping

# Bytes of items after which a server is asked, and those ahead of its last answer at which the client waits for the next: more than
# our servers allow one call, which so waits for nothing else.
ASK_AT, WAIT_AT = 16 * 1024 * 1024, 48 * 1024 * 1024
# What an item counts for at least: small ones take more than their bytes on the way, and a client's loop is to have its turn between many.
LEAST = 4096


class Ahead:
    """Of one connection."""

    __slots__ = ("_asked", "_token", "bytes")

    def __init__(self) -> None:
        self.bytes = 0  # sent, and not known to have been read
        self._asked = 0  # those of them before the ping that is unanswered
        self._token = 0

    @property
    def full(self) -> bool:
        """Whether who sends an item now is to wait. Then a ping is unanswered."""
        return self.bytes >= WAIT_AT

    def sent(self, size: int) -> bool:
        """An item has been said, of so many bytes. Whether it is far ahead: then see what it `asks`, and whether it is `full`."""
        self.bytes += size if size > LEAST else LEAST
        return self.bytes >= ASK_AT

    def asks(self) -> Ping | None:
        """What is to be said now."""
        if self.bytes < ASK_AT or self._asked:
            return None
        self._asked = self.bytes
        self._token = secrets.randbits(63)
        return Ping(self._token)

    def answered(self, token: int) -> bool:
        """A pong has come. Whether it is the answer: then see what it `asks` now."""
        if not self._asked or token != self._token:
            return False
        self.bytes -= self._asked
        self._asked = 0
        return True
