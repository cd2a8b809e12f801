"""What goes through the pipe between a server and its client of Dask."""

from __future__ import annotations

from typing import NamedTuple

from ... import errors


class JobOrder(NamedTuple):
    """To the client: run that job, with what it needs of Dask's workers."""

    number: int
    method: str
    packed: bytes
    priority: int
    resources: dict[str, float]


class CancelOrder(NamedTuple):
    """To the client: nobody waits for that one any more."""

    number: int


class JobAnswer(NamedTuple):
    """Of the client: what `elsewhere.work` has returned, packed; or why it has not."""

    number: int
    packed: bytes
    error: errors.CallError | None
