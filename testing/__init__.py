"""Test helpers for services: a server with a client, and a call context without a server.

    from ringback.testing import serving

    def test_add():
        with serving(service) as client:
            assert client.call("add", 1, 2) == 3

pytest also has `serving` as the fixture `ringback_serving`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contexts import call_context
    from .servers import serving

__all__ = ["call_context", "serving"]


def __getattr__(name: str) -> Any:
    """Import names on first use: pytest loads this package for the fixture in every run."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(".servers" if name == "serving" else ".contexts", __name__)
    return getattr(module, name)
