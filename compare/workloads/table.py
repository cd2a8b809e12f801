"""The table of workloads: which calls, how they come, and what is to be known of each.

A new workload is a method of the service and a row of the table. Each call has arguments of its own, and its script knows the one right
answer without doing the work.
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

SLOW = 0.1  # of mixed
ITEMS = 1_000  # of a stream
OVERLOAD = 3.0
OVERLOAD_TIMEOUT = 0.25


class Workload(NamedTuple):
    """Calls, and how they come: `script(numbers, cpu_steps)` makes one caller's calls, with numbers that no other caller gets.

    `concurrency` and `client` are for a workload that fixes them, and `usual` the calls in flight where nothing is said. One that is
    `open` has calls come at a rate, whatever the server does. `window` are the seconds of a slice, where other than usual, and `units` how
    many there are of it beside those of others. `figure` is what it is compared by. `check` looks at what the calls of a slice have left
    behind. One that is `stored` has servers with a state store, and some calls of one that is `keyed` bring a key.
    `overload` has so many times the calls come that the server can do, each with a `timeout`, in seconds.
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
    """A value of that size, which has to come back."""
    filling = bytes(size - SIZE)
    for number in numbers:
        value = number.to_bytes(SIZE, "big") + filling
        if (yield Call(method, (value,))) != value:
            raise WrongReply


def _cpu(numbers: Iterator[int], steps: int) -> Script:
    for number in numbers:
        # The numbers of two measurements differ in their higher bits alone.
        start = (number + measurement(number) * SCATTER) & MASK
        if (yield Call("cpu", (start, steps))) != after(start, steps):
            raise WrongReply


def _mixed(numbers: Iterator[int], steps: int) -> Script:
    """Calls of `cpu` spread evenly but out of step among those of `echo`."""
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
        f"one of {reads.KEYS} values that each take {reads.READ_SECONDS * 1000:.0f} ms to read, {explanation}",
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
    """Calls that give their value back. Of short ones a generator in Python is the limit sooner than a server: what they cost the server is
    what tells arms apart."""
    return Workload(name, explanation, partial(_same, method, size), (method,), figure=figure, **how)


WORKLOADS = {
    workload.name: workload
    for workload in (
        _back(
            "lone",
            f"{SIZE} bytes back, one caller: the time of a call",
            styles=(REQUEST_REPLY,),
            concurrency=1,
            figure="p50",
            units=2,
        ),
        _back("echo", f"{SIZE} bytes back, inline on the event loop", usual=8, units=4),
        _back(
            "flood",
            "echo, 64 calls in flight and no client: what the server can do",
            styles=(FIRE_AND_CALLBACK,),
            concurrency=64,
            client=RAW,
            units=4,
        ),
        _back(
            "echo-rate",
            f"{SIZE} bytes back, calls coming at one rate for all backends",
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
            f"cpu, {OVERLOAD:g} times as many calls coming as it can do, {OVERLOAD_TIMEOUT * 1000:.0f} ms for each",
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
            f"{1 - SLOW:.0%} echo behind {SLOW:.0%} cpu: do slow calls delay quick ones?",
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
        _counter("version", "by put-if-version, again until nobody was quicker", "add_versioned"),
        _counter("idempotency", "once for each key, in the call's transaction", "add_once", keyed=True),
        _read("none", "in a plain def", "read"),
        _read("cache", f"kept by the server for {reads.CACHE_SECONDS * 1000:.0f} ms", "read_cached"),
        _read("async-io", "in a coroutine", "read_async"),
    )
}

CORE = ("lone", "echo", "cpu", "io", "flood", "echo-rate", "payload-64k")
QUICK = ("echo", "cpu", "io")


def figure_of(name: str, *, opened: bool) -> str:
    """What cells of that workload are compared by; `opened`, where its calls come at a rate. A user's own scenario has no row here."""
    workload = WORKLOADS.get(name)
    if workload is None or (opened and not workload.open):
        return "p50" if opened else "throughput"
    return workload.figure


def place(name: str) -> int:
    """Where a workload stands in the table; a user's own scenario stands behind all."""
    return _PLACES.get(name, len(_PLACES))


_PLACES = {name: number for number, name in enumerate(WORKLOADS)}
