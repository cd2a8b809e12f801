"""One caller of a closed loop: it has one call in flight, checks the reply against its own arguments, and makes the next call.

It knows no event loop; a `Batch` is the N callers of one cell, and the `drive_*.py` files run them the way their client style waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from .plan import Cell, Plan
from .results import Result
from .statistics import latency
from .workloads import WORKLOADS, Workload


class Window(NamedTuple):
    """When replies count, on the clock of `perf_counter`; the same for all callers of a cell."""

    opens: float
    closes: float


class Caller:
    """Makes the calls numbered `number`, `number + step`, ... so that no two callers send the same arguments."""

    __slots__ = (
        "_arguments",
        "_began",
        "_closes",
        "_number",
        "_opens",
        "_step",
        "_steps",
        "_workload",
        "errors",
        "method",
        "samples",
        "wrong",
    )

    def __init__(self, workload: Workload, cpu_steps: int, number: int, step: int, window: Window) -> None:
        self.method = workload.name
        self.samples: list[float] = []
        self.errors: Counter[str] = Counter()
        self.wrong = 0
        self._workload = workload
        self._steps = cpu_steps
        self._number = number
        self._step = step
        self._opens, self._closes = window
        self._began = 0.0
        self._arguments: tuple[Any, ...] = ()

    def begin(self) -> tuple[Any, ...] | None:
        """The arguments of the next call, or None when the window has closed."""
        self._number += self._step
        self._arguments = self._workload.arguments(self._number, self._steps)
        self._began = began = perf_counter()
        return self._arguments if began < self._closes else None

    def reply(self, result: Any) -> None:
        """The call was answered. Every answer is checked, and counts where it is right and came within the window."""
        ended = perf_counter()
        if result != self._workload.answer(*self._arguments):
            self.wrong += 1
        elif self._opens <= ended < self._closes:
            self.samples.append(ended - self._began)

    def fail(self, error: BaseException) -> None:
        """The call failed; it counts whenever it did."""
        self.errors[getattr(error, "code", None) or type(error).__name__] += 1


class Batch:
    """The callers of one cell. Made when the cell begins: its clock runs from here."""

    def __init__(self, plan: Plan, cell: Cell) -> None:
        self.cell = cell
        self.patience = plan.patience(cell)
        self._plan = plan
        opens = perf_counter() + cell.warmup
        window = Window(opens, opens + cell.window)
        workload = WORKLOADS[cell.workload]
        self.callers = [
            Caller(workload, plan.cpu_steps, number, cell.concurrency, window)
            for number in range(cell.concurrency)
        ]

    def check(self, ended: int) -> None:
        """Raises RuntimeError unless all callers have ended."""
        if ended < len(self.callers):
            raise RuntimeError(
                f"{self.cell.workload} {self.cell.style}: {len(self.callers) - ended} of {len(self.callers)} callers "
                f"got neither reply nor error within {self.patience:.0f} s"
            )

    def result(self) -> Result:
        """What came of it, once all callers have ended."""
        samples = [sample for caller in self.callers for sample in caller.samples]
        errors = sum((caller.errors for caller in self.callers), Counter[str]())
        return Result(
            backend=self._plan.backend,
            client=self._plan.client,
            style=self.cell.style,
            workload=self.cell.workload,
            concurrency=self.cell.concurrency,
            throughput=len(samples) / self.cell.window,
            latency=latency(samples),
            errors=errors.total(),
            calls=len(samples),
            errors_by_code=dict(errors),
            wrong=sum(caller.wrong for caller in self.callers),
            workers=self._plan.workers,
            seconds=self.cell.window,
        )


def call(client: Any, caller: Caller) -> None:
    """Request-reply where waiting is plain: one call after another until the window closes."""
    while (arguments := caller.begin()) is not None:
        try:
            result = client.call(caller.method, *arguments)
        except Exception as error:
            caller.fail(error)
        else:
            caller.reply(result)


async def call_async(client: Any, caller: Caller) -> None:
    """The same where a call is awaited."""
    while (arguments := caller.begin()) is not None:
        try:
            result = await client.call(caller.method, *arguments)
        except Exception as error:
            caller.fail(error)
        else:
            caller.reply(result)


class Firing:
    """Fire-and-callback: one of the N outstanding calls, whose callback fires the next, until the window closes; then `over()`."""

    __slots__ = ("_caller", "_client", "_over")

    def __init__(self, client: Any, caller: Caller, over: Callable[[], object]) -> None:
        self._client = client
        self._caller = caller
        self._over = over

    def fire(self) -> None:
        """The next call."""
        arguments = self._caller.begin()
        if arguments is None:
            self._over()
        else:
            self._client.fire(self._caller.method, *arguments, callback=self._replied, errback=self._failed)

    def _replied(self, result: Any) -> None:
        self._caller.reply(result)
        self.fire()

    def _failed(self, error: BaseException) -> None:
        self._caller.fail(error)
        self.fire()
