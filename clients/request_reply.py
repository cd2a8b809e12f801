"""Calls a method, waits for the reply, and calls again.

Usage: `python -m ringback.clients.request_reply ENDPOINT [METHOD [ARG]...]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import Any

from .scripts import script


def calls(
    client: Any, method: str, args: list[Any], count: int, show: Callable[[Any], None]
) -> Generator[Any, Any, None]:
    """Make one call after the other."""
    for _ in range(count):
        show((yield client.call(method, *args)))


if __name__ == "__main__":
    sys.exit(script("request-reply", "Call a method and wait for the reply, --count times.", calls))
