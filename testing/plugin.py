"""The fixture that pytest finds by the entry point `pytest11`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def ringback_serving() -> Callable[..., Any]:
    """`ringback.testing.serving`: a server of a service and a client of it, for the length of a `with`."""
    from .servers import serving  # few tests of a run need it

    return serving
