"""`ringback compare --self-check`: does the comparison, on this machine, find the differences that
exist, and no others?"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import typer

from ...errors import UsageError
from ..load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, STYLES, LoadPlan, OfferedLoad
from ..report.outputs import Outputs
from ..results import Check, Limit, Report
from ..run import pair
from ..run.environment import environment
from ..run.measured import Times, beside, latency, round_of, speed
from ..run.pair import Pair, Placement, ServerCommand, Slice, alone
from ..run.processes import ChildFailed
from ..run.request import SERVICE
from ..workloads.handlers import steps_of_cpu
from .contrasts import Rule, contrasts, judge

_SLOWED = "ringback.compare.workloads.slowed:service"
_BACKEND = "asyncio"

_CALLERS = 64
_ROUNDS, _UNITS = 8, 6
_SECONDS = 0.06
_LONG = 0.3
_RULE = Rule(margin=0.05)

# A server that stalls for _STALL seconds, once in _EVERY seconds.
_STALL, _EVERY = 0.5, 1.0
_STALLED_SECONDS = 3.0
_STALLED_RATE = 200.0


class SelfCheck:
    """All checks; `windows` are the slices measured for them."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self._chance = random.Random(self.seed)  # noqa: S311
        self._steps = steps_of_cpu()
        self._placement = Placement.halves()
        self.windows: list[Slice] = []

    def run(self) -> Iterator[Check]:
        """Run the checks, one after another. Raises ChildFailed if a server or client does not
        start, or ends early."""
        yield from self._comparisons()
        yield self._ceiling()
        yield from self._stalls()
        yield from self._little()

    def _comparisons(self) -> Iterator[Check]:
        """Compare the same server twice, and one that does 10 % more work: fresh in each round,
        taking turns as in a comparison."""
        servers = {"one": SERVICE, "same": SERVICE, "slowed": _SLOWED}
        values: dict[str, list[float]] = {name: [] for name in servers}
        # One caller: contention of threads for the interpreter differs from process to process, and
        # is not the question here.
        load = OfferedLoad("cpu", REQUEST_REPLY, 1, 0.0, _SECONDS)
        for _ in range(_ROUNDS):
            with contextlib.ExitStack() as running:
                pairs = [
                    (
                        name,
                        running.enter_context(
                            self._pair(pair.backend(_BACKEND, _CALLERS, service))
                        ),
                    )
                    for name, service in servers.items()
                ]
                units = []
                for _ in range(_UNITS):
                    self._chance.shuffle(pairs)
                    unit: dict[str, list[float]] = {}
                    for name, one in (*pairs, *reversed(pairs)):
                        unit.setdefault(name, []).append(speed(self._window(one, load)))
                    units.append(unit)
                for name, value in beside(units).items():
                    values[name].append(value)
        claims = judge(contrasts(values, larger_is_better=True), _RULE)
        for name, what in (
            ("same", "no difference where there is none"),
            ("slowed", "a slowdown of 10 %"),
        ):
            [claim] = [
                each
                for each in claims
                if {each.contrast.arm, each.contrast.against} == {name, "one"}
            ]
            differs = claim.outcome in ("better", "worse") and claim.sure
            ok = differs and claim.contrast.against == name if name == "slowed" else not differs
            says = (
                f"{claim.contrast.arm} beside {claim.contrast.against} {claim.ratio:.3f} "
                f"({claim.low:.3f}..{claim.high:.3f}) in "
                f"{_ROUNDS} rounds: {claim.outcome}"
            )
            yield Check(what, ok, says)

    def _ceiling(self) -> Check:
        """The parent finds which end is the limit, by its use of its processor: the client with a
        server that does nothing, the server if it computes."""
        with self._pair(pair.null()) as running:
            load = OfferedLoad("echo", FIRE_AND_CALLBACK, _CALLERS, 0.0, _LONG)
            null = [self._window(running, load) for _ in range(3)]
        with self._pair(pair.backend(_BACKEND, _CALLERS, SERVICE)) as running:
            load = OfferedLoad("cpu", REQUEST_REPLY, _CALLERS, 0.0, 2 * _LONG)
            computing = [self._window(running, load) for _ in range(3)]
        ceiling = median(map(speed, null))
        says = "; ".join(
            f"with a server that {does}, server and client are busy {server:.0%} and {client:.0%} "
            f"of the time"
            for does, (server, client) in (
                ("does nothing", _busy(null)),
                ("computes", _busy(computing)),
            )
        )
        says += f"; the ceiling is {ceiling:,.0f} calls/s"
        return Check(
            "the generator's ceiling", _shown("client", null) and _shown("server", computing), says
        )

    def _stalls(self) -> Iterator[Check]:
        """Coordinated omission: a caller that waits for each reply makes no calls while the server
        stalls."""
        usual = OfferedLoad("echo", REQUEST_REPLY, 1, 0.0, _STALLED_SECONDS)
        p99 = {}
        for name, load in (
            ("closed", usual),
            (
                "open",
                usual._replace(rate=_STALLED_RATE, style=FIRE_AND_CALLBACK, concurrency=_CALLERS),
            ),
        ):
            with (
                self._pair(pair.backend(_BACKEND, _CALLERS, SERVICE)) as running,
                _stalling(running.server.pid),
            ):
                window = running.measure(load)
            p99[name] = latency(Times.of([window]).response).p99 or 0.0
        # Half of all calls arrive at random moments of the stall: 1 in 100 in its first 10 ms.
        exact = _STALL - 0.01 * _EVERY
        says = (
            f"p99 is {p99['open'] * 1e3:.0f} ms with a server that stalls 500 ms once a second "
            f"(expected: {exact * 1e3:.0f} ms)"
        )
        yield Check("the open loop shows a stall", abs(p99["open"] / exact - 1) <= 0.1, says)
        says = (
            f"p99 is {p99['closed'] * 1e3:.1f} ms with one caller of that server (expected: under "
            f"50 ms)"
        )
        yield Check("a closed loop hides it", p99["closed"] < 0.05, says)

    def _little(self) -> Iterator[Check]:
        """Little's law in all slices of these checks, except those of the server that stalls.

        A few may fail: a machine may stall between two clock readings.
        """
        laws = [round_of(1, 0.0, [each]).little for each in self.windows]
        whole = max(abs((law.whole or 1.0) - 1) for law in laws)
        closing = sum(law.ok for law in laws)
        says = (
            f"holds in {closing} of {len(laws)} slices, off by at most {whole:.2%} "
            "(expected: within 1 % in 95 % of slices)"
        )
        yield Check("Little's law", closing >= 0.95 * len(laws), says)

    def _window(self, running: Pair, load: OfferedLoad) -> Slice:
        window = running.measure(load)
        self.windows.append(window)
        return window

    @contextlib.contextmanager
    def _pair(self, server: ServerCommand) -> Iterator[Pair]:
        """The server and a load generator, warmed up."""
        plan = LoadPlan(
            client="threading", cpu_steps=self._steps, timeout=10.0, max_callers=_CALLERS
        )
        with alone(server, plan, self._placement) as running:
            for style in STYLES:
                running.measure(OfferedLoad("echo", style, _CALLERS, 0.0, 0.1))
            yield running


def _busy(windows: Sequence[Slice]) -> tuple[float, float]:
    """The fractions of the time that server and client were busy."""
    server, client = (
        median(getattr(each.cpu, name) or 0.0 for each in windows)
        for name in ("server_busy", "client_busy")
    )
    return server, client


def _shown(end: Limit, windows: Sequence[Slice]) -> bool:
    """Whether this end was the limit, which is the busier one: other programs may leave neither its
    whole processor."""
    server, client = _busy(windows)
    return (client > server) == (end == "client")


@contextlib.contextmanager
def _stalling(pid: int) -> Iterator[None]:
    """Stop the process periodically inside the `with` block; it runs again after it."""
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


def self_check(
    outputs: Outputs, seed: int | None = None, show: Callable[[str], object] = typer.echo
) -> int:
    """Run the self-check, and show each check as it ends. The exit status is 4 if the comparison
    cannot be trusted on this machine."""
    outputs.check()
    checks = SelfCheck(seed)
    report = Report(
        environment=environment(seed=checks.seed, quick=False, cpu_steps=steps_of_cpu())
    )
    try:
        for check in checks.run():
            report.checks.append(check)
            show(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.says}")
    except ChildFailed as error:
        raise UsageError(f"the self-check failed: {error}") from None
    report.complete = True
    outputs.write(report)
    failed = [check.name for check in report.checks if not check.ok]
    if failed:
        typer.echo(
            f"ringback: comparisons on this machine cannot be trusted; failed: {'; '.join(failed)}",
            err=True,
        )
    return 4 if failed else 0
