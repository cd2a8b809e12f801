"""Where plain functions run that are not to run in this process: a file an executor, and `elsewhere.py` is what they run there.

A new one is a class with the interface of `base.Executor` and a name in `make`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from ...errors import UsageError
from ..options import ExecutorOptions
from .base import Executor

# Those that run in this process need no executor: the loop has workers and threads.
HERE = ("inline", "thread")
ELSEWHERE = ("process", "dask")
NAMES = (*HERE, *ELSEWHERE)


def make(name: str, options: ExecutorOptions) -> Executor:
    """The executor of that name, not yet started. Raises UsageError that names the extra, where its library is not installed."""
    made: dict[str, Callable[[ExecutorOptions], Executor]] = {"process": _process, "dask": _dask}
    return made[name](options)


def _dask(options: ExecutorOptions) -> Executor:
    from .dask import DaskExecutor

    if find_spec("distributed") is None:
        raise UsageError("executor='dask' needs distributed: install it with pip install 'ringback[dask]'")
    if options["dask"] is None:
        raise UsageError("executor='dask' needs to know the cluster's scheduler: --dask tcp://HOST:8786")
    return DaskExecutor(options)


def _process(options: ExecutorOptions) -> Executor:
    if find_spec("pebble") is None:
        raise UsageError("executor='process' needs Pebble: install it with pip install 'ringback[process]'")
    from .process import ProcessExecutor

    return ProcessExecutor(options)


__all__ = ["ELSEWHERE", "HERE", "NAMES", "Executor", "make"]
