"""`ringback compare` and `ringback report`: measure or read, write files, show the table.

Failures are reported in one line on standard error.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TextIO

import typer
from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from ..errors import UsageError
from . import peers
from .asking import missing, request_of, require
from .options import BACKENDS, CompareOptions
from .report.conditions import Condition, check, refuse
from .report.difference import UNCHANGED, ReportChanges, changes
from .report.names import NamedCell, what
from .report.outputs import Outputs
from .report.progress import LiveProgress
from .report.reading import runs
from .report.rows import codes
from .report.table import WIDE, changed, place, view
from .report.verdict import verdict
from .results import Arm, Design, Report
from .run.environment import environment
from .run.request import CompareRequest
from .run.rounds import Experiment
from .run.treatments import treatments
from .statistics.analysis import analyse
from .statistics.predictions import predict
from .workloads.handlers import steps_of_cpu

# Exit statuses, besides 0 and 1 (failed).
USAGE = 2
BROKEN = 3
UNDECIDED = 4


class _Asked(NamedTuple):
    """A cell that a request may measure."""

    arm: str
    client: str
    style: str
    workload: str


def compare(
    options: CompareOptions, outputs: Outputs, fail_if: Sequence[str], words: Sequence[str]
) -> int:
    """Run the comparison and return the exit status.

    1: a reply was wrong, or a measurement failed; 2: usage error; 3: a condition is met; 4: a
    condition is undecided. `words` are the command line's words, kept in the report to repeat it.
    """
    for kind, names in (("backend", options.backend), ("client", options.client)):
        for name in names or ():
            require(kind, name)  # a missing library is no usage error
    for name in set(options.peer or ()) & set(peers.NAMES):
        peers.load(name)
    try:
        request = request_of(options)
        conditions = _conditions(fail_if, _asked(request), older=False)
        outputs.check()
    except UsageError as error:
        return _refuse(error)
    report = _start(request, words)
    report.skipped = [] if options.backend else [name for name in BACKENDS if missing(name)]
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        with LiveProgress(_console(sys.stderr)) as progress:
            experiment = Experiment(request, report, progress)
            try:
                experiment.run()
                report.complete = not report.failures
            finally:
                _finish(report, experiment)
    finally:
        signal.signal(signal.SIGTERM, before)
        _deliver(report, outputs)
    return _status(report, conditions)


def report(older: str | None, newer: str, outputs: Outputs, fail_if: Sequence[str]) -> int:
    """Show a saved run, or the last of several, and its changes from older runs, if given.

    Returns the exit status, as `compare` does.
    """
    after = runs(newer)
    shown = after[-1]
    found = UNCHANGED if older is None else changes(runs(older), after)
    if older is not None and not found.differences and not found.not_compared:
        raise UsageError(
            f"{older} and {newer} have no cell in common: cells match by arm, client, style, "
            f"workload, loop, "
            "calls in flight and workers"
        )
    try:
        conditions = _conditions(fail_if, [*shown.results, *shown.peers], older=older is not None)
        outputs.check()
    except UsageError as error:
        return _refuse(error)
    _deliver(shown, outputs, found)
    return _status(shown, conditions, found)


def _refuse(error: UsageError) -> int:
    typer.echo(f"ringback: {error}", err=True)
    return USAGE


def _conditions(
    texts: Sequence[str], cells: Iterable[NamedCell], *, older: bool
) -> list[Condition]:
    """Parse the conditions, and refuse those that match no cell, before minutes are spent."""
    try:
        conditions = [Condition.parse(text) for text in texts]
        refuse(conditions, cells, older=older)
    except ValueError as error:
        raise UsageError(f"--fail-if: {error}") from None
    return conditions


def _asked(request: CompareRequest) -> Iterator[NamedCell]:
    for treatment in treatments(request):
        for job in treatment.jobs:
            yield _Asked(treatment.arm, treatment.client, job.style, job.workload)


def _start(request: CompareRequest, words: Sequence[str]) -> Report:
    """A report without results. It is made before the run, whose load would disturb its figures of
    the machine."""
    if "--seed" not in words:
        words = [*words, "--seed", str(request.seed)]
    return Report(
        environment=environment(
            seed=request.seed,
            quick=request.quick,
            cpu_steps=steps_of_cpu(),
        ),
        arms=[_public_arm(request.arm(name)) for name in request.backends],
        design=Design(
            command=shlex.join(["ringback", "compare", *map(_public, words)]),
            seconds=request.seconds,
            workers=request.serving,
            loop="closed" if request.rate is None else "open",
            duet=request.duet,
            state="a SQLite file of each server, unless its arm has a --state of its own"
            if request.stored
            else "",
            pinned=str(request.placement),
            explanations={name: request.workload(name).explanation for name in request.workloads},
        ),
    )


def _public(word: str) -> str:
    """The word without a URL's user name and password."""
    return re.sub(r"(?<=://)[^/@]*@|(?<=[?&]password=)[^&]*", "", word)


def _public_arm(arm: Arm) -> Arm:
    return replace(arm, options=tuple(map(_public, arm.options)))


def _finish(report: Report, experiment: Experiment) -> None:
    """Fill in the report from the rounds that were measured, even if the run was cut short."""
    cells = sorted((cell.result() for cell in experiment.cells.values() if cell.rounds), key=place)
    report.results = [cell for cell in cells if not cell.peer]
    report.peers = [cell for cell in cells if cell.peer]
    report.design.rounds = experiment.rounds
    report.speed = experiment.speeds.found()
    analyse(report, experiment.controls)
    predict(report)
    report.verdict = verdict(report)
    report.finished = datetime.now(UTC).isoformat(timespec="seconds")


def _terminated(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _deliver(report: Report, outputs: Outputs, found: ReportChanges = UNCHANGED) -> None:
    """Write the files, then show the table, even if writing failed. The reader of the table may
    quit, so the files come first."""
    try:
        # A run that ended before its first round must not overwrite an older report.
        if _tells(report):
            outputs.write(report, found)
    finally:
        _show(report, outputs, found)


def _tells(report: Report) -> bool:
    """Whether the report has figures or failures."""
    return bool(report.results or report.peers or report.failures)


def _show(report: Report, outputs: Outputs, found: ReportChanges) -> None:
    """Print the table, on standard error if a file goes to standard output. On a terminal rows fit
    the width and sentences wrap; elsewhere lines are never broken."""
    console = _console(sys.stderr if outputs.on_stdout else sys.stdout)
    bounded = console.file.isatty()  # not `is_terminal`: FORCE_COLOR in a pipe asks for colour only
    if not bounded:
        console.width = WIDE
    for each in (*view(report, console.width), *changed(found)):
        console.print(each, soft_wrap=not bounded and isinstance(each, Text), highlight=False)


def _console(file: TextIO) -> Console:
    return Console(file=file, color_system=None if os.environ.get("NO_COLOR") else "auto")


def _status(
    report: Report, conditions: Sequence[Condition], found: ReportChanges = UNCHANGED
) -> int:
    status, problems = 0, [*report.failures, *_bad(report)]
    if not _tells(report):
        problems = ["nothing was measured, so no file was written"]
    if problems:
        status = 1
    elif conditions:
        outcome = check(conditions, report, found)
        if outcome.broken:
            status, problems = BROKEN, [f"condition met: {each}" for each in outcome.broken]
        elif outcome.undecided:
            status, problems = UNDECIDED, [f"undecided: {each}" for each in outcome.undecided]
            if not (report.verdict.trusted and found.trusted):
                problems.insert(0, "the run cannot be trusted")
    if problems:
        typer.echo(f"ringback: {'; '.join(problems)}", err=True)
    return status


def _bad(report: Report) -> list[str]:
    """Cells without value: some replies were wrong, or no call was answered."""
    bad = []
    for result in (*report.results, *report.peers):
        if result.wrong:
            why = f": {result.why}" if result.why else ""
            bad.append(f"{result.wrong} wrong replies from {what(result)}{why}")
        if not result.calls:
            bad.append(
                f"no call answered by {what(result)}: "
                f"{codes(result.errors_by_code) or 'all were too slow'}"
            )
    return bad
