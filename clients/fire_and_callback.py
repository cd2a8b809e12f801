"""Fires all calls, then receives the callbacks.

Usage: `python -m ringback.clients.fire_and_callback ENDPOINT [METHOD [ARG]...]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import Any

from .scripts import script

# Calls fired before the first one is awaited; every client's bound in flight is higher.
AT_ONCE = 1000


def calls(
    client: Any, method: str, args: list[Any], count: int, show: Callable[[Any], None]
) -> Generator[Any, Any, None]:
    """Fire up to AT_ONCE calls at once.
    The callback receives the results; the first error ends the script."""

    def seen(error: BaseException) -> None:
        """Marks the error as observed: the future raises it too."""

    for start in range(0, count, AT_ONCE):
        fired = [
            client.fire(method, *args, callback=show, errback=seen)
            for _ in range(min(AT_ONCE, count - start))
        ]
        for future in fired:
            _ = yield future  # not `yield from`: a list has no `send` for the outcome


if __name__ == "__main__":
    sys.exit(
        script(
            "fire-and-callback",
            "Fire calls of a method and receive the replies in callbacks.",
            calls,
        )
    )
