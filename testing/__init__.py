"""For tests of services: a server and a client of it for the length of a `with`, and the context of a call without a server.

    from ringback.testing import serving

    def test_add():
        with serving(service) as client:
            assert client.call("add", 1, 2) == 3

pytest finds `serving` as the fixture `ringback_serving`, too.
"""

from __future__ import annotations

from .contexts import call_context
from .serving import serving

__all__ = ["call_context", "serving"]
