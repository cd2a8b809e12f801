"""The far end of an executor: runs a job's function in another process, without server or loop.

The outcome returns as plain data, because a user's exception may not be picklable.
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
    """The context behind `current_call()`, without the lifespan's value of the serving process.

    Nested calls pass versions on, but new versions do not return to the server.
    """

    def __init__(self, call: CurrentCall) -> None:
        self._call = call
        self.deadline = call.deadline
        self.versions = None if call.versions is None else dict(call.versions)

    def current(self) -> CurrentCall:
        return self._call


def work(job: Job) -> tuple[Any, JobFailed | None]:
    """Run the job in this process. Returns its result, or its failure."""
    if job.left is not None:
        job.call.deadline = time.monotonic() + job.left
    try:
        return Context().run(_called, job), None
    except BaseException as error:
        trace = "" if errors.is_ours(error) else formatted(error) or errors.name_of(error)
        return None, JobFailed(*errors.to_wire(error), trace)


def _called(job: Job) -> Any:
    """Call the function. Runs in a context of its own, as the process runs other calls too."""
    handling.set(_There(job.call))
    if job.trace is not None:
        from ...tracing.spans import attach  # few calls need it

        attach(job.trace)
    return job.function(*job.args, **job.kwargs)
