"""Who asks: one interface in four styles. `core.py` is the way of every call through links and sockets, `base.py` what the
styles share; the four files named after their loops hold only what differs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Client  # not imported: a probe, `health.py`, needs nothing of it


def connect(*endpoints: str, **options: Any) -> Client:
    """A blocking client: of greenlets in a program that gevent has patched, of threads in any other. The options are
    those of `ringback.clients.threading.connect`."""
    if "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("threading"):
        from .gevent import connect as patched

        return patched(*endpoints, **options)
    from .threading import connect as plain

    return plain(*endpoints, **options)
