"""The pytest fixture, found by the entry point `pytest11`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def ringback_serving() -> Callable[..., Any]:
    """`ringback.testing.serving`: a server of a service with a client, in a `with`."""
    from .servers import serving  # few tests need it

    return serving
