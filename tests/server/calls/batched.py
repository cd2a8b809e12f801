"""A service whose worker methods tell how their calls were run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextvars import ContextVar, copy_context

import ringback

service = ringback.Service("batched")
_ran: list[int] = []
_stopped: list[str] = []
_gates: dict[str, threading.Event] = {}
_seen: ContextVar[str] = ContextVar("seen", default="nothing")


def _gate(name: str) -> threading.Event:
    return _gates.setdefault(name, threading.Event())


@service.method(inline=True)
def ran() -> list[int]:
    "The calls of `note` and `meet` that have begun, in that order."
    return list(_ran)


@service.method(inline=True)
def stopped() -> list[str]:
    "What handlers have been stopped by."
    return list(_stopped)


@service.method(inline=True)
def opens(name: str) -> None:
    _gate(name).set()


@service.method
def holds(name: str) -> None:
    "Keeps its worker until the gate of that name is opened."
    _gate(name).wait()


@service.method
def where(_: int) -> int:
    return threading.get_ident()


@service.method
def note(n: int) -> int:
    _ran.append(n)
    return n


@service.method
def says(text: str) -> int:
    return len(text)


@service.method
def rests(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@service.method(timeout=0.2)
def brief(n: int) -> int:
    return note(n)


@service.method
def meet(name: str, n: int) -> int:
    "Call 0 waits for the last, which opens the gate."
    _ran.append(n)
    if n == 0:
        _gate(name).wait()
    elif n == 19:
        _gate(name).set()
    return n


@service.method
def waits(name: str, n: int) -> int:
    "Call 0 waits until it is stopped, or the gate is opened."
    _ran.append(n)
    try:
        if n == 0:
            _gate(name).wait()
    except BaseException as error:
        _stopped.append(f"{n} {type(error).__name__}")
        raise
    return n


@service.method
def seventh_waits(name: str, n: int) -> int:
    if n == 7:
        _gate(name).wait()
    return n


class BadFuture(Future[int]):
    def add_done_callback(self, fn: object) -> None:  # type: ignore[override]
        raise RuntimeError("no callbacks")


@service.method
def bad_future(n: int) -> object:
    return BadFuture() if n == 1 else n


@service.method
def leaves_timeout(n: int) -> str:
    "For gevent: call 0 leaves behind what would be thrown into its greenlet."
    import gevent

    if n == 0:
        gevent.Timeout(0.02).start()
        return "left"
    gevent.sleep(0.1)
    return "fine"


@service.method
def odd(n: int) -> object:
    "As many kinds of outcomes as there are."
    match n % 6:
        case 0:
            return n
        case 1:
            raise LookupError(n)
        case 2:
            return object()
        case 3:
            future: Future[int] = Future()
            threading.Timer(0.01, future.set_result, (n,)).start()
            return future
        case 4:
            return "x" * 100_000
        case _:
            raise SystemExit(n)


@service.method
def sets(n: int) -> str:
    "What it sees that another call has set."
    seen = _seen.get()
    _seen.set(f"call {n}")
    return seen


@service.method
def told(_: int) -> list[object]:
    call = ringback.current_call()
    return [call.method, dict(call.metadata), call.remaining()]


_late: list[object] = []


@service.method
def goes_on(n: int) -> None:
    "Asks for its call when it is over."

    def ask() -> None:
        _gate("over").wait()
        call = ringback.current_call()
        _late.append([call.method, call.deadline is None, n])

    threading.Thread(target=copy_context().run, args=(ask,)).start()


@service.method(inline=True)
def late() -> list[object]:
    return sorted(_late)  # type: ignore[type-var]


@service.method
def forks(n: int) -> int:
    "Call 1 forks a child that comes back."
    if n == 1:
        os.fork()
    return n


# Interceptors that are there only when the server begins

watched = ringback.Service("watched")
_intercepted: list[str] = []


def intercept(call: ringback.CurrentCall) -> Iterator[None]:
    _intercepted.append(call.method)
    return (yield)


@watched.lifespan
def begins() -> Iterator[None]:
    watched.use(intercept)
    yield


@watched.method
def passes(n: int) -> int:
    return n


@watched.method(inline=True)
def intercepted() -> int:
    return _intercepted.count("passes")
