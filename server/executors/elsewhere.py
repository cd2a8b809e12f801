"""The other end of an executor: what runs in another process, around the function. It knows no server and no loop.

What comes of a call goes back as plain data: an exception of the user's may not be made to travel.
"""

from __future__ import annotations

import time
from contextvars import Context
from typing import Any

from ... import errors
from ...context import CurrentCall
from ...handling import Handling, handling
from ...logs.errorlog import formatted
from .base import Job, JobFailed


class _There(Handling):
    """What `current_call()` tells: all but the lifespan's value, which is of the serving process. Nested calls pass versions on, but what
    they bring does not get back."""

    def __init__(self, call: CurrentCall) -> None:
        self._call = call
        self.deadline = call.deadline
        self.versions = None if call.versions is None else dict(call.versions)

    def current(self) -> CurrentCall:
        return self._call


def work(job: Job) -> tuple[Any, JobFailed | None]:
    """Call the function here."""
    if job.left is not None:
        job.call.deadline = time.monotonic() + job.left
    try:
        return Context().run(_called, job), None
    except BaseException as error:
        trace = "" if errors.is_ours(error) else formatted(error) or errors.name_of(error)
        return None, JobFailed(*errors.to_wire(error), trace)


def _called(job: Job) -> Any:
    """In a context of the call's own: the process has had others, and will have."""
    handling.set(_There(job.call))
    if job.trace is not None:
        from ...tracing.spans import attach  # few calls need it

        attach(job.trace)
    return job.function(*job.args, **job.kwargs)
