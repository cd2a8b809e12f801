"""Which endpoints the native transport has."""

from __future__ import annotations

from ...errors import UsageError


def check_endpoint(endpoint: str) -> None:
    """Raises UsageError for one that cannot be had here."""
    if endpoint.startswith("inproc://"):
        raise UsageError(f'{endpoint} is for transport="libzmq": the native transport has tcp and ipc')
