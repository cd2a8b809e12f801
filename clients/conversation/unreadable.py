"""Results that cannot be decoded as their callers want them."""

from __future__ import annotations

from typing import Any

from ... import errors


def check_cut(kind: Any, error: BaseException) -> None:
    """Raise an error that no value of that kind can cause.
    It comes from a signal handler, for the thread that reads here."""
    if kind is Any and not errors.is_a(error, Exception):
        raise error


def unreadable(method: str, kind: Any, error: BaseException) -> errors.CallError:
    """The error of a call whose result cannot be decoded."""
    why = errors.described(error)
    if kind is not Any:
        return errors.InvalidArgument(f"{method}: the result does not fit {kind}: {why}")
    return errors.ProtocolError(f"{method}: the result cannot be read: {why}")
