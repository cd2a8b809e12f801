"""What the server needs of an executor: a place outside this process where functions run."""

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
    """A function to be called elsewhere; `call` is what `current_call()` tells there, but for the deadline: another host has another clock,
    so `left` has the seconds until then. `priority` and `resources` are for executors that schedule calls themselves. `trace`: the trace
    context, of a server that traces."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    call: CurrentCall
    left: float | None
    priority: int
    resources: Mapping[str, float]
    trace: Mapping[str, str] | None = None


class JobFailed(NamedTuple):
    """What a function has raised there: the words of `errors.to_wire`, and its traceback where it was not meant as an answer."""

    code: str
    kind: str
    message: str
    trace: str


class Failures:
    """What functions raise elsewhere, as errors here; tracebacks stay in this server's log."""

    def __init__(self) -> None:
        self._raised = Bounded(log, 100)

    def error(self, job: Job, failed: JobFailed) -> errors.CallError:
        """What the caller gets."""
        if failed.trace:
            name, peer = job.call.method, job.call.peer
            more = {"method": name, "peer": peer, "code": errors.RemoteError.code}
            text = "%s raised for %s in another process\n%s"
            self._raised(logging.ERROR, text, name, peer, failed.trace.rstrip(), fields=more)
        return errors.from_wire(failed.code, failed.kind, failed.message)


class Executor(ABC):
    """One place; all its methods are called on the serving loop."""

    slots: int  # how many calls it runs at once

    @abstractmethod
    def run(self, job: Job, report: Report) -> Handle:
        """Run it, and report its outcome once, from any thread. Cancelling ends it as far as that can be done here."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more is to be run."""


def check(name: str, function: Callable[..., Any]) -> None:
    """Raises UsageError for a function that could not be found elsewhere: it has to be there under its name in its module."""
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise UsageError(
            f"method {name!r}: what runs in another process must be a function at the top of a module, under its own name"
        )
