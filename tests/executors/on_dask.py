"""The service of the tests of executor='dask', which Dask's workers import too."""

from __future__ import annotations

import os
import time
from pathlib import Path

import ringback
from ringback import errors

service = ringback.Service("on_dask")


@service.method
def here() -> int:
    return os.getpid()


@service.method(executor="dask", readonly=True)
def there() -> int:
    return os.getpid()


@service.method(executor="dask", readonly=True)
def told() -> dict:
    call = ringback.current_call()
    return {"method": call.method, "priority": call.priority, "metadata": dict(call.metadata)}


@service.method(executor="dask", readonly=True)
def fail(kind: str) -> None:
    raise {"key": KeyError("x"), "ours": errors.Aborted("no")}[kind]


@service.method(executor="dask", idempotent=True, resources={"gpu": 1})
def on_gpu(path: str, seconds: float) -> int:
    "Leaves a file for each run: when it began and ended, and where."
    began = time.monotonic()
    time.sleep(seconds)
    Path(path).write_text(f"{began} {time.monotonic()} {os.getpid()}")
    return os.getpid()


@service.method(executor="dask", readonly=True, resources={"tpu": 1})
def never() -> None: ...


@service.method(executor="dask", idempotent=True)
def work(path: str, number: int, seconds: float) -> int:
    "Leaves a line for each run."
    with Path(path).open("a") as file:
        file.write(f"{number} {os.getpid()}\n")
    time.sleep(seconds)
    return number


@service.method(executor="dask", idempotent=True, resources={"gpu": 1})
def render(path: str, number: int, seconds: float) -> int:
    return work(path, number, seconds)


@service.method(executor="dask", idempotent=True, resources={"disk": 2})
def store(path: str, number: int, seconds: float) -> int:
    return work(path, number, seconds)


@service.method(executor="dask", readonly=True)
def wait(path: str, seconds: float) -> None:
    Path(path).write_text("begun")
    time.sleep(seconds)
