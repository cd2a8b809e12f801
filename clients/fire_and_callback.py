"""`python -m ringback.clients.fire_and_callback ENDPOINT [METHOD [ARG]...]`: fire all calls, go on, be called back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import Any

from .scripts import script

# Fired before the first is waited for; the client's own bound is above it in every style.
AT_ONCE = 1000


def calls(
    client: Any, method: str, args: list[Any], count: int, show: Callable[[Any], None]
) -> Generator[Any, Any, None]:
    """So many calls at once; the results come to the callback, and the first error ends the script."""

    def seen(error: BaseException) -> None:
        """The future raises it too."""

    for start in range(0, count, AT_ONCE):
        fired = [
            client.fire(method, *args, callback=show, errback=seen)
            for _ in range(min(AT_ONCE, count - start))
        ]
        for future in fired:
            _ = yield future  # not `yield from`: a list cannot be sent what came of it


if __name__ == "__main__":
    sys.exit(
        script("fire-and-callback", "Fire calls of a method and be called back with the answers.", calls)
    )
