"""The messages between a server and its Dask client process."""

from __future__ import annotations

from typing import NamedTuple

from ... import errors


class JobOrder(NamedTuple):
    """To the client: run this packed job, on a Dask worker with these resources."""

    number: int
    method: str
    packed: bytes
    priority: int
    resources: dict[str, float]


class CancelOrder(NamedTuple):
    """To the client: cancel that job, as its caller has given it up."""

    number: int


class JobAnswer(NamedTuple):
    """From the client: the packed outcome of `elsewhere.work`, or the error that prevented it."""

    number: int
    packed: bytes
    error: errors.CallError | None
