"""Real threads and locks, whatever gevent is doing."""

from __future__ import annotations

import sys
import types

import pytest
from ringback.backends import native


def test_a_gevent_that_is_being_imported_has_patched_nothing_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In another thread: what it will say of the originals is not there."""
    monkeypatch.setitem(sys.modules, "gevent.monkey", types.ModuleType("gevent.monkey"))
    assert native.allocate_lock().acquire(blocking=False)
    ended = native.start_thread(lambda: None)
    assert ended.acquire(timeout=15)
