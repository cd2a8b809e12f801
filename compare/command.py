"""`ringback compare`: checks what was asked for, has it run, shows the table, writes the JSON, and says in one line what failed."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import typer
from rich.console import Console

from .. import backends as installed
from ..clients.scripts import STYLES as CLIENTS
from ..errors import UsageError
from .plan import STYLES
from .progress import LiveProgress
from .results import Report
from .run import Request, missing, require, run, start
from .table import lines
from .workloads import WORKLOADS

BACKENDS = ("asyncio", "gevent", "threading", "twisted")


def compare(
    backends: Sequence[str],
    clients: Sequence[str],
    styles: Sequence[str],
    workloads: Sequence[str],
    concurrency: int,
    quick: bool,
    json: str | None,
) -> int:
    """The exit status: 0, or 1 where a reply was wrong or something could not be measured. Empty lists stand for the defaults."""
    request = Request(
        backends=_chosen("--backend", backends, installed.names(), [n for n in BACKENDS if not missing(n)]),
        clients=_chosen("--client", clients, CLIENTS, ["threading"]),
        styles=_chosen("--style", styles, STYLES, STYLES),
        workloads=_chosen("--workload", workloads, list(WORKLOADS), list(WORKLOADS)),
        concurrency=concurrency,
        quick=quick,
        seed=secrets.randbelow(2**32),
    )
    for backend in request.backends:
        require("backend", backend)
    for client in request.clients:
        require("client", client)
    _check_writable(json)
    report = start(request)
    report.skipped = [] if backends else [name for name in BACKENDS if missing(name)]
    cells = request.cells
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        with LiveProgress(
            _console(sys.stderr),
            len(request.backends) * len(request.clients) * len(cells),
            sum(request.seconds),
        ) as progress:
            run(request, report, progress)
    finally:
        signal.signal(signal.SIGTERM, before)
        _show(report, request, json)
    problems = [*report.failures, *_bad(report)]
    if problems:
        typer.echo(f"ringback: {'; '.join(problems)}", err=True)
    return 1 if problems else 0


def _chosen(option: str, given: Sequence[str], known: Sequence[str], default: Sequence[str]) -> list[str]:
    """What was given, each once, or the default."""
    for name in given:
        if name not in known:
            raise typer.BadParameter(f"there is no {name!r}: choose of {', '.join(known)}", param_hint=option)
    return list(dict.fromkeys(given or default))


def _check_writable(json: str | None) -> None:
    """Before minutes are spent on it. Raises UsageError."""
    if json is None or json == "-":
        return
    path = Path(json)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--json: {json} cannot be written")


def _terminated(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _show(report: Report, request: Request, json: str | None) -> None:
    """The table where the JSON is not."""
    console = _console(sys.stderr if json == "-" else sys.stdout)
    for line in lines(report, request.concurrency):
        console.print(line.text, style=line.style, soft_wrap=True, markup=False, highlight=False, emoji=False)
    if json == "-":
        sys.stdout.write(report.json().decode())
        sys.stdout.flush()
    elif json is not None:
        try:
            Path(json).write_bytes(report.json())
        except OSError as error:
            raise UsageError(f"--json: {json} cannot be written: {error.strerror}") from None


def _console(file: TextIO) -> Console:
    return Console(file=file, color_system=None if os.environ.get("NO_COLOR") else "auto")


def _bad(report: Report) -> list[str]:
    """What makes a measurement worthless: answers to other arguments, or none at all."""
    bad = []
    for result in report.results:
        what = f"{result.backend} in {result.workload} {result.style} ({result.client} client)"
        if result.wrong:
            bad.append(f"{result.wrong} wrong replies from {what}")
        if not result.calls:
            codes = ", ".join(f"{number} {code}" for code, number in result.errors_by_code.items())
            bad.append(f"no call answered by {what}: {codes or 'all were too slow'}")
    return bad
