"""Executors: they run plain functions outside this process.

Each executor has a file; `elsewhere.py` is the code that they run there. A new executor is a
subclass of `base.Executor` with a name in `make`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from ...errors import UsageError
from ..options import ExecutorOptions
from .base import Executor

# These run in this process and need no Executor: the event loop has workers and threads.
HERE = ("inline", "thread")
ELSEWHERE = ("process", "dask")
NAMES = (*HERE, *ELSEWHERE)


def make(name: str, options: ExecutorOptions) -> Executor:
    """Make the executor of that name. Raises UsageError, naming the extra, without its library."""
    made: dict[str, Callable[[ExecutorOptions], Executor]] = {"process": _process, "dask": _dask}
    return made[name](options)


def _dask(options: ExecutorOptions) -> Executor:
    from .dask import DaskExecutor

    if find_spec("distributed") is None:
        raise UsageError(
            "executor='dask' needs distributed: install it with pip install 'ringback[dask]'"
        )
    if options["dask"] is None:
        raise UsageError(
            "executor='dask' needs the address of the Dask scheduler: --dask tcp://HOST:8786"
        )
    return DaskExecutor(options)


def _process(options: ExecutorOptions) -> Executor:
    if find_spec("pebble") is None:
        raise UsageError(
            "executor='process' needs Pebble: install it with pip install 'ringback[process]'"
        )
    from .process import ProcessExecutor

    return ProcessExecutor(options)


__all__ = ["ELSEWHERE", "HERE", "NAMES", "Executor", "make"]
