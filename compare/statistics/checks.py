"""`ringback compare --self-check`: does the comparison find what is there, and nothing that is not? On this machine, now."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median

import typer

from ...errors import UsageError
from ..load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, STYLES, Load, Plan
from ..report.outputs import Outputs
from ..results import Check, Limit, Report
from ..run import pair
from ..run.ceilings import busiest, busy
from ..run.environment import environment
from ..run.measured import Measured, Times, latency
from ..run.observe import CEILING
from ..run.pair import Pair, Placement, Server, Window
from ..run.processes import ChildFailed
from ..run.request import SERVICE
from ..workloads.handlers import IO_SECONDS, steps_of_cpu
from . import inference, simulate

_SLOWED = "ringback.compare.workloads.slowed:service"
_BACKEND = "asyncio"

_CALLERS = 64
_ROUNDS = 10
_WARMUP, _WINDOW = 0.1, 0.3
_CONFIDENCE, _MARGIN = 0.95, 0.05

# Simulated runs of each kind.
_RUNS = 2_000

# A sleep ends late by some timer's tick and a thread's wake-up, never early.
_LATE = 0.1

# A server that stands still for this long, once in so many seconds.
_STALL, _EVERY = 0.5, 1.0
_STALLED_SECONDS = 3.0
_STALLED_RATE = 200.0


class SelfCheck:
    """All checks; `windows` are what was measured for them."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self._chance = random.Random(self.seed)  # noqa: S311
        self._steps = steps_of_cpu()
        self._placement = Placement.halves()
        self.windows: list[Window] = []

    def run(self) -> Iterator[Check]:
        """One after another. Raises ChildFailed where a server or a client does not start, or does not survive."""
        yield self._simulated_equals()
        yield self._simulated_slowdown()
        yield from self._comparisons()
        yield self._ceiling()
        yield self._wait()
        yield from self._stalls()
        yield from self._little()

    def _simulated_equals(self) -> Check:
        share = simulate.false_claims(_RUNS, _ROUNDS, "heavy", self.seed)
        says = f"of {_RUNS:,} simulated runs of equal servers {share:.1%} claim a difference (at most 5.5 %)"
        return Check("no difference where there is none, simulated", share <= 0.055, says)

    def _simulated_slowdown(self) -> Check:
        share = simulate.found(_RUNS, _ROUNDS, "normal", 0.1, self.seed)
        says = f"a slowdown of 10 % is found in {share:.1%} of {_RUNS:,} simulated runs (at least 95 %)"
        return Check("a difference where there is one, simulated", share >= 0.95, says)

    def _comparisons(self) -> Iterator[Check]:
        """The same server twice, and one that works a tenth more: each fresh in each round, in random order."""
        servers = {"one": SERVICE, "same": SERVICE, "slowed": _SLOWED}
        values: dict[str, list[float]] = {name: [] for name in servers}
        # One caller: how threads fight for the interpreter differs from process to process, and is not the question here.
        load = Load("cpu", REQUEST_REPLY, 1, _WARMUP, _WINDOW)
        for _ in range(_ROUNDS):
            with contextlib.ExitStack() as running:
                pairs = [
                    (name, running.enter_context(self._pair(pair.backend(_BACKEND, _CALLERS, service))))
                    for name, service in servers.items()
                ]
                self._chance.shuffle(pairs)
                # There and back, so that a machine that becomes faster or slower does so for all.
                calls: dict[str, float] = dict.fromkeys(servers, 0.0)
                for name, one in (*pairs, *reversed(pairs)):
                    calls[name] += self._window(one, load).sample.calls
                for name in servers:
                    values[name].append(calls[name])
        for name, expected, what in (
            ("same", ("equal", "unclear"), "no difference where there is none, measured"),
            ("slowed", ("worse",), "a slowdown of 10 %, measured"),
        ):
            # Two claims are made of these measurements.
            found = inference.paired(values[name], values["one"], 1 - (1 - _CONFIDENCE) / 2)
            outcome = inference.outcome(found.ratio, found.interval, _MARGIN, larger_is_better=True)
            low, high = found.interval
            says = f"{found.ratio:.3f} ({low:.3f}..{high:.3f}) of the other's calls/s in {_ROUNDS} rounds: {outcome}"
            yield Check(what, outcome in expected, says)

    def _ceiling(self) -> Check:
        """Who is the limit is seen from outside, by what each end uses of its processor: the client before a server that does nothing, the
        server where it computes."""
        with self._pair(pair.null()) as running:
            null = self._several(running, Load("echo", FIRE_AND_CALLBACK, _CALLERS, _WARMUP, _WINDOW))
        with self._pair(pair.backend(_BACKEND, _CALLERS, SERVICE)) as running:
            computing = self._several(running, Load("cpu", REQUEST_REPLY, _CALLERS, _WARMUP, 2 * _WINDOW))
        ceiling = median(each.sample.calls / each.load.window for each in null)
        says = "; ".join(
            f"before a server that {does}, server and client are busy for {server:.0%} and {client:.0%} of the time"
            for does, (server, client) in (("does nothing", busy(null)), ("computes", busy(computing)))
        )
        says += (
            f"; the ceiling is {ceiling:,.0f} calls/s, and from {CEILING:.0%} of it on a cell is the client's"
        )
        return Check("the generator's ceiling", _shown("client", null) and _shown("server", computing), says)

    def _several(self, running: Pair, load: Load) -> list[Window]:
        return [self._window(running, load) for _ in range(3)]

    def _wait(self) -> Check:
        with self._pair(pair.backend(_BACKEND, _CALLERS, SERVICE)) as running:
            windows = [
                running.measure(Load(workload, REQUEST_REPLY, 1, _WARMUP, 2 * _WINDOW))
                for workload in ("lone", "io")
            ]
        self.windows += windows
        lone, found = (latency(Times.of(window.sample.timed).response).p50 or 0.0 for window in windows)
        expected = IO_SECONDS + lone
        says = (
            f"a call whose handler waits {IO_SECONDS * 1e3:.0f} ms takes {found * 1e3:.2f} ms, one that does not {lone * 1e3:.2f} ms "
            f"(their difference at most {_LATE:.0%} off)"
        )
        return Check(
            "a time that is known",
            expected <= found * 1.001 and found <= IO_SECONDS * (1 + _LATE) + lone,
            says,
        )

    def _stalls(self) -> Iterator[Check]:
        """Coordinated omission: who waits for an answer before the next call makes none while the server stands still."""
        usual = Load("echo", REQUEST_REPLY, 1, _WARMUP, _STALLED_SECONDS)
        p99 = {}
        for name, load in (
            ("closed", usual),
            ("open", usual._replace(rate=_STALLED_RATE, style=FIRE_AND_CALLBACK, concurrency=_CALLERS)),
        ):
            with (
                self._pair(pair.backend(_BACKEND, _CALLERS, SERVICE)) as running,
                _stalling(running.server.pid),
            ):
                window = running.measure(load)
            p99[name] = latency(Times.of(window.sample.timed).response).p99 or 0.0
        # Half of all calls come at random moments of the stall: 1 in 100 within its first 10 ms.
        exact = _STALL - 0.01 * _EVERY
        says = f"p99 {p99['open'] * 1e3:.0f} ms of a server that stalls 500 ms once a second (exactly {exact * 1e3:.0f} ms)"
        yield Check("the open loop shows a stall", abs(p99["open"] / exact - 1) <= 0.1, says)
        says = f"p99 {p99['closed'] * 1e3:.1f} ms with one caller of the same server (under 50 ms)"
        yield Check("a closed loop hides it", p99["closed"] < 0.05, says)

    def _little(self) -> Iterator[Check]:
        """Of all windows that these checks have measured, but for those of the server that stalls. What else runs may stop a lone caller at
        a window's edge: then the law of the window says nothing, while that from empty to empty must hold."""
        cells = [Measured(_BACKEND, "threading", each, workers=_CALLERS) for each in self.windows]
        laws = [
            cell.add(1, 0.0, window, None).little for cell, window in zip(cells, self.windows, strict=True)
        ]
        quiet = [
            law.ok for law, window in zip(laws, self.windows, strict=True) if not window.observed.contaminated
        ]
        whole = max(abs((law.whole or 1.0) - 1) for law in laws)
        says = (
            f"{sum(quiet)} of {len(quiet)} windows that nothing disturbed close; from empty to empty all {len(laws)}, "
            f"{whole:.2%} off at most (1 %)"
        )
        yield Check("Little's law", all(quiet) and whole <= 0.01, says)

    def _window(self, running: Pair, load: Load) -> Window:
        window = running.measure(load)
        if window.observed.contaminated:
            window = running.measure(load)
        self.windows.append(window)
        return window

    def _pair(self, server: Server) -> Pair:
        running = Pair(server, partial(_plan, self._steps), self._placement)
        try:
            for style in STYLES:
                running.measure(Load("echo", style, _CALLERS, 0.0, _WARMUP))
        except BaseException:
            running.__exit__(None, None, None)
            raise
        return running


def _shown(end: Limit, windows: Sequence[Window]) -> bool:
    """Whether that end was the limit. Where other programs had a part of every window, no end can have all of its processor: then it must
    be the busier one."""
    if all(each.observed.contaminated for each in windows):
        server, client = busy(windows)
        return (client > server) == (end == "client")
    return busiest(windows) == end


def _plan(steps: int, endpoint: str) -> Plan:
    return Plan(client="threading", endpoint=endpoint, cpu_steps=steps, timeout=10.0, max_callers=_CALLERS)


@contextlib.contextmanager
def _stalling(pid: int) -> Iterator[None]:
    """The process stands still for a while, again and again, and runs when the `with` is left."""
    over = threading.Event()

    def stall() -> None:
        while not over.wait(_EVERY - _STALL):
            os.kill(pid, signal.SIGSTOP)
            over.wait(_STALL)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stall)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def self_check(outputs: Outputs, seed: int | None = None, show: Callable[[str], object] = typer.echo) -> int:
    """The exit status: 4 where the comparison cannot be trusted here. Each check is shown when it is known."""
    outputs.check()
    checks = SelfCheck(seed)
    report = Report(
        environment=environment(
            seed=checks.seed, quick=False, warmup=_WARMUP, window=_WINDOW, cpu_steps=steps_of_cpu()
        )
    )
    try:
        for check in checks.run():
            report.checks.append(check)
            show(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.says}")
    except ChildFailed as error:
        raise UsageError(f"the self-check cannot be ended: {error}") from None
    report.complete = True
    outputs.write(report)
    failed = [check.name for check in report.checks if not check.ok]
    if failed:
        typer.echo(f"ringback: this comparison cannot be trusted here: {'; '.join(failed)}", err=True)
    return 4 if failed else 0
