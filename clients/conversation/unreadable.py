"""Results that cannot be read as their callers want them."""

from __future__ import annotations

from typing import Any

from ... import errors


def check_cut(kind: Any, error: BaseException) -> None:
    """Raises what no value of that kind can have raised: it comes from the handler of a signal, and is for whoever reads here."""
    if kind is Any and not errors.is_a(error, Exception):
        raise error


def unreadable(method: str, kind: Any, error: BaseException) -> errors.CallError:
    """The error of a call whose result cannot be read as it is to be."""
    why = errors.described(error)
    if kind is not Any:
        return errors.InvalidArgument(f"{method}: the result does not fit {kind}: {why}")
    return errors.ProtocolError(f"{method}: the result cannot be read: {why}")
