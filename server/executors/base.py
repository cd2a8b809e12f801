"""The interface of an executor, which runs functions outside this process."""

from __future__ import annotations

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ... import errors
from ...backends.base import Handle, Report
from ...context import CurrentCall
from ...errors import UsageError
from ...logs.bounded import Bounded

log = logging.getLogger("ringback.server")


class Job(NamedTuple):
    """A function to call elsewhere.

    `call`: the value of `current_call()` there, without the deadline. Clocks of hosts differ, so
    `left` is the time until the deadline in seconds. `priority` and `resources` are for executors
    with their own scheduler. `trace`: the trace context, on a server that traces.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    call: CurrentCall
    left: float | None
    priority: int
    resources: Mapping[str, float]
    trace: Mapping[str, str] | None = None


class JobFailed(NamedTuple):
    """An exception from elsewhere: the fields of `errors.to_wire`, and the traceback.

    The traceback is "" for ringback's own errors, which are deliberate replies.
    """

    code: str
    kind: str
    message: str
    trace: str


class Failures:
    """Turns exceptions from elsewhere into errors here, and logs their tracebacks."""

    def __init__(self) -> None:
        self._raised = Bounded(log, 100)

    def error(self, job: Job, failed: JobFailed) -> errors.CallError:
        """The error for the caller."""
        if failed.trace:
            name, peer = job.call.method, job.call.peer
            more = {"method": name, "peer": peer, "code": errors.RemoteError.code}
            text = "%s raised for %s in another process\n%s"
            self._raised(logging.ERROR, text, name, peer, failed.trace.rstrip(), fields=more)
        return errors.from_wire(failed.code, failed.kind, failed.message)


class Executor(ABC):
    """Runs functions in one place elsewhere. The server calls its methods on the serving loop."""

    slots: int  # maximum calls that it runs at once

    @abstractmethod
    def run(self, job: Job, report: Report) -> Handle:
        """Run the job, and report its outcome once, from any thread.

        Cancelling the handle stops the job if this executor can stop it.
        """

    @abstractmethod
    def close(self) -> None:
        """End the executor: no more jobs come."""


def check(name: str, function: Callable[..., Any]) -> None:
    """Raises UsageError for a function that other processes cannot import by module and name."""
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise UsageError(
            f"method {name!r}: a function for another process must be at the top of a module, "
            f"under its own name"
        )
