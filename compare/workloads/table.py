"""The table of workloads: their calls, their load and the figure they are compared by.

A new workload is a method of the service and a row of the table. Each call has arguments of its
own, and its script knows the correct reply without doing the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from ..load.plan import FIRE_AND_CALLBACK, RAW, REQUEST_REPLY, STYLES
from ..scenario import Call, Check, Script, WrongReply
from . import counters, reads, variants
from .handlers import CPU_SECONDS, IO_SECONDS, MASK, SIZE, after
from .numbers import SCATTER, measurement, spread

SLOW = 0.1  # fraction of `cpu` calls in `mixed`
ITEMS = 1_000  # in each stream
OVERLOAD = 3.0
OVERLOAD_TIMEOUT = 0.25


class Workload(NamedTuple):
    """A row of the table. `script(numbers, cpu_steps)` makes one caller's calls, with unique
    numbers.

    `concurrency` and `client`, if given, cannot be changed by options; `usual` is the default
    number of calls in flight. An `open` workload has arrivals at a rate, however slow the server
    is; with `overload` the rate is this multiple of the server's capacity, and each call has a
    `timeout` in seconds. `window` is the length of a slice in seconds, if not the usual one;
    `units` its share of the units of a round. `figure` is the figure of its claims. `check`
    verifies the effects of a slice's calls. A `stored` workload needs servers with a state store;
    some calls of a `keyed` one carry an idempotency key.
    """

    name: str
    explanation: str
    script: Callable[[Iterator[int], int], Script]
    methods: tuple[str, ...] = ("echo",)
    styles: tuple[str, ...] = STYLES
    concurrency: int | None = None
    usual: int = 64
    client: str = ""
    open: bool = False
    stream: bool = False
    window: float = 0.0
    units: int = 3
    overload: float = 0.0
    timeout: float | None = None
    check: Check | None = None
    stored: bool = False
    keyed: bool = False
    figure: str = "throughput"


def _same(method: str, size: int, numbers: Iterator[int], _steps: int) -> Script:
    """Calls with a value of `size` bytes, which must come back."""
    filling = bytes(size - SIZE)
    for number in numbers:
        value = number.to_bytes(SIZE, "big") + filling
        if (yield Call(method, (value,))) != value:
            raise WrongReply


def _cpu(numbers: Iterator[int], steps: int) -> Script:
    for number in numbers:
        # The numbers of two measurements differ only in their higher bits.
        start = (number + measurement(number) * SCATTER) & MASK
        if (yield Call("cpu", (start, steps))) != after(start, steps):
            raise WrongReply


def _mixed(numbers: Iterator[int], steps: int) -> Script:
    """Calls of `echo`, with calls of `cpu` spread evenly and irregularly among them."""
    for number in numbers:
        if spread(number) < SLOW:
            yield from _cpu(iter((number,)), steps)
        else:
            yield from _same("echo", SIZE, iter((number,)), steps)


def _stream(numbers: Iterator[int], _steps: int) -> Script:
    for number in numbers:
        if (yield Call("numbers", (number, ITEMS))) != list(range(number, number + ITEMS)):
            raise WrongReply


def _counter(variant: str, explanation: str, method: str, *, keyed: bool = False) -> Workload:
    return Workload(
        variants.COUNTER.row(variant),
        f"add 1 to one of {counters.COUNTERS} counters, {explanation}",
        partial(counters.script, method, keyed),
        methods=(method, "total_of"),
        concurrency=counters.CALLERS,
        window=counters.WINDOW,
        units=1,
        check=counters.check,
        stored=True,
        keyed=keyed,
    )


def _read(variant: str, explanation: str, method: str) -> Workload:
    return Workload(
        variants.READ.row(variant),
        f"one of {reads.KEYS} values that each take {reads.READ_SECONDS * 1000:.0f} ms to read, "
        f"{explanation}",
        partial(reads.script, method),
        methods=(method,),
        window=20 * reads.READ_SECONDS,
        units=1,
        check=reads.check,
    )


def _back(
    name: str,
    explanation: str,
    method: str = "echo",
    size: int = SIZE,
    figure: str = "server_cpu",
    **how: Any,
) -> Workload:
    """A workload whose calls return their value.

    With short calls the load generator, which is Python, reaches its limit before the server does,
    so the default figure is the server's CPU time.
    """
    return Workload(
        name, explanation, partial(_same, method, size), (method,), figure=figure, **how
    )


WORKLOADS = {
    workload.name: workload
    for workload in (
        _back(
            "lone",
            f"{SIZE} bytes back, one caller: the time of a single call",
            styles=(REQUEST_REPLY,),
            concurrency=1,
            figure="p50",
            units=2,
        ),
        _back("echo", f"{SIZE} bytes back, inline on the event loop", usual=8, units=4),
        _back(
            "flood",
            "echo, 64 calls in flight and no client: the capacity of the server",
            styles=(FIRE_AND_CALLBACK,),
            concurrency=64,
            client=RAW,
            units=4,
        ),
        _back(
            "echo-rate",
            f"{SIZE} bytes back, arrivals at the same rate for all backends",
            styles=(FIRE_AND_CALLBACK,),
            usual=8,
            open=True,
        ),
        _back("payload-1k", "1 KiB back, inline", size=1024),
        _back("payload-64k", "64 KiB back, inline", size=65536, usual=8),
        _back("payload-1m", "1 MiB back, inline, at most 4 at a time", size=1 << 20, concurrency=4),
        _back("pooled", f"{SIZE} bytes back, an unmarked def", "pooled"),
        _back(
            "io",
            f"an unmarked def that waits {IO_SECONDS * 1000:.0f} ms",
            "io",
            figure="throughput",
            window=4 * IO_SECONDS,
        ),
        _back(
            "io-async",
            f"a coroutine that waits {IO_SECONDS * 1000:.0f} ms, the same one on every backend",
            "io_async",
            figure="throughput",
            window=4 * IO_SECONDS,
        ),
        Workload(
            "cpu",
            f"an unmarked def that computes for about {CPU_SECONDS * 1000:.0f} ms",
            _cpu,
            methods=("cpu",),
            usual=8,
        ),
        Workload(
            "overload",
            f"cpu, arrivals at {OVERLOAD:g} times the server's capacity, timeout "
            f"{OVERLOAD_TIMEOUT * 1000:.0f} ms",
            _cpu,
            methods=("cpu",),
            styles=(FIRE_AND_CALLBACK,),
            open=True,
            overload=OVERLOAD,
            units=1,
            timeout=OVERLOAD_TIMEOUT,
            window=4 * OVERLOAD_TIMEOUT,
        ),
        Workload(
            "mixed",
            f"{1 - SLOW:.0%} echo and {SLOW:.0%} cpu: do slow calls delay quick ones?",
            _mixed,
            methods=("echo", "cpu"),
        ),
        Workload(
            "stream",
            f"streams of {ITEMS:,} numbers, each read to its end",
            _stream,
            styles=(REQUEST_REPLY,),
            concurrency=4,
            stream=True,
            methods=("numbers",),
        ),
        _counter("none", "by get and put", "add"),
        _counter("lock", "under a lock, with its fencing token", "add_locked"),
        _counter("version", "by put-if-version, retried until it succeeds", "add_versioned"),
        _counter(
            "idempotency", "once for each key, in the call's transaction", "add_once", keyed=True
        ),
        _read("none", "in a plain def", "read"),
        _read(
            "cache", f"cached by the server for {reads.CACHE_SECONDS * 1000:.0f} ms", "read_cached"
        ),
        _read("async-io", "in a coroutine", "read_async"),
    )
}

CORE = ("lone", "echo", "cpu", "io", "flood", "echo-rate", "payload-64k")
QUICK = ("echo", "cpu", "io")


def figure_of(name: str, *, opened: bool) -> str:
    """The figure of the workload's claims. `opened`: it runs as an open loop. A user's own scenario
    has no row, so it has a default."""
    workload = WORKLOADS.get(name)
    if workload is None or (opened and not workload.open):
        return "p50" if opened else "throughput"
    return workload.figure


def place(name: str) -> int:
    """A workload's position in the table; a user's own scenario comes last."""
    return _PLACES.get(name, len(_PLACES))


_PLACES = {name: number for number, name in enumerate(WORKLOADS)}
