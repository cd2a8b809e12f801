"""The service of the tests of executors: what runs in other processes."""

from __future__ import annotations

import contextvars
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ringback
from ringback import errors

service = ringback.Service("elsewhere")


@dataclass
class Point:
    x: int
    y: int


class Unsendable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("it cannot be made of one argument")


@service.method
def here() -> int:
    return os.getpid()


@service.method
def kept() -> int:
    return os.getpid()


@service.method(executor="process")
def there() -> int:
    return os.getpid()


_named: contextvars.ContextVar[str] = contextvars.ContextVar("named", default="nobody")


@service.method(executor="process")
def named(name: str) -> str:
    "Who was named before."
    before = _named.get()
    _named.set(name)
    return before


@service.method(executor="process")
def mirrored(point: Point) -> Point:
    assert isinstance(point, Point)
    return Point(point.y, point.x)


@service.method(executor="process")
def told() -> dict:
    call = ringback.current_call()
    return {
        "method": call.method,
        "metadata": dict(call.metadata),
        "left": call.remaining(),
        "app": call.app,
    }


@service.method(executor="process")
def die() -> None:
    os._exit(9)


@service.method(executor="process")
def fail(kind: str) -> None:
    raise {"key": KeyError("x"), "ours": errors.Aborted("no"), "unsendable": Unsendable(1, 2)}[kind]


@service.method(executor="process")
def unsendable() -> object:
    return lambda: None


@service.method(executor="process")
def wait(path: str, seconds: float) -> None:
    "Says that it has begun, and after that time that it was not stopped."
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
    Path(path).write_text("over")


@service.method(executor="process")
def hold(path: str) -> None:
    "Says that it has begun, and ends when it is let go."
    Path(path).write_text(str(os.getpid()))
    while not Path(f"{path}.go").exists():
        time.sleep(0.01)


@service.method(executor="process")
def fill(mebibytes: int) -> int:
    return len(bytearray(mebibytes << 20))


@service.method
def count(n: int) -> Iterator[int]:
    yield from range(n)


lambdas = ringback.Service("lambdas")
lambdas.method(name="nameless", executor="process")(lambda: 1)
