"""Where plain functions run that are not to run in this process: a file an executor, and `elsewhere.py` is what they run there.

A new one is a class with the interface of `base.Executor` and a name in `make`.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import UsageError
from .base import Executor, Settings

# Those that run in this process need no executor: the loop has workers and threads.
HERE = ("inline", "thread")
ELSEWHERE = ("process",)
NAMES = (*HERE, *ELSEWHERE)


def make(name: str, settings: Settings) -> Executor:
    """The executor of that name, not yet started. Raises UsageError that names the extra, where its library is not installed."""
    made: dict[str, Callable[[Settings], Executor]] = {"process": _process}
    return made[name](settings)


def _process(settings: Settings) -> Executor:
    try:
        from .process import ProcessExecutor
    except ModuleNotFoundError as error:
        if error.name != "pebble":
            raise
        raise UsageError(
            "executor='process' needs Pebble: install it with pip install 'ringback[process]'"
        ) from None
    return ProcessExecutor(settings)


__all__ = ["ELSEWHERE", "HERE", "NAMES", "Executor", "Settings", "make"]
