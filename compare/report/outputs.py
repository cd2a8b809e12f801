"""A report as files: JSON with everything, CSV with a line for each cell, HTML to be looked at."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import UsageError
from ..results import Balance, Consistency, Report, Result
from .difference import UNCHANGED, Changes

STDOUT = "-"

_HEAD = (
    *(
        "peer",
        "arm",
        "client",
        "style",
        "workload",
        "loop",
        "concurrency",
        "workers",
        "calls",
        "seconds",
        "throughput",
    ),
    *("throughput_low", "throughput_high", "offered", "achieved", "p50", "p90", "p99", "p999", "max", "mean"),
    *("server_cpu_per_call", "client_cpu_per_call", "server_resident", "errors", "wrong", "limit", "void"),
    *("protect", "optimise"),
    *Consistency.__struct_fields__,
    *("policy", "servers"),
    *Balance.__struct_fields__,
)


class Outputs(NamedTuple):
    """Where each goes; `-` is standard output, None nowhere."""

    json: str | None = None
    csv: str | None = None
    html: str | None = None

    @property
    def on_stdout(self) -> bool:
        """Whether standard output is taken."""
        return STDOUT in self

    def check(self) -> None:
        """Before minutes are spent on it. Raises UsageError where one cannot be written."""
        if self.count(STDOUT) > 1:
            raise UsageError("only one of --json, --csv and --html can go to standard output")
        for option, name in self._files():
            path = Path(name)
            if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
                raise UsageError(f"--{option}: {name} cannot be written")

    def write(self, report: Report, changes: Changes = UNCHANGED) -> None:
        """All that are asked for. Raises UsageError, after those that can be written, where one cannot after all."""
        failed = []
        for option, name in zip(self._fields, self, strict=True):
            if name is None:
                continue
            data = _FORMS[option](report, changes)
            try:
                _put(data, name)
            except BrokenPipeError:
                raise  # who read it has gone, which is no failure of the file
            except OSError as error:
                failed.append(f"--{option}: {name} cannot be written: {error.strerror}")
        if failed:
            raise UsageError("; ".join(failed))

    def _files(self) -> Iterator[tuple[str, str]]:
        for option, name in zip(self._fields, self, strict=True):
            if name is not None and name != STDOUT:
                yield option, name


def _put(data: str, name: str) -> None:
    if name == STDOUT:
        sys.stdout.write(data)
        sys.stdout.flush()
    else:
        Path(name).write_text(data, encoding="utf-8")


def _csv(report: Report, _: Changes) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEAD)
    for result in (*report.results, *report.peers):
        writer.writerow(_row(result))
    return text.getvalue()


def _row(result: Result) -> list[object]:
    low, high = result.interval.throughput or (None, None)
    rate = (result.rate.offered, result.rate.achieved) if result.rate else (None, None)
    own = [getattr(result, name) for name in _HEAD[:11]]
    times = [getattr(result.latency, name) for name in _HEAD[15:21]]
    cost = [result.cpu.server_per_call, result.cpu.client_per_call, result.memory.server]
    found = [getattr(result.consistency, name, None) for name in Consistency.__struct_fields__]
    spread = [getattr(result.balance, name, None) for name in Balance.__struct_fields__]
    rest = [getattr(result, name) for name in _HEAD[24:30]]
    return [*own, low, high, *rate, *times, *cost, *rest, *found, result.policy, result.servers, *spread]


def _html(report: Report, changes: Changes) -> str:
    from .page import html  # plotly is not imported by those who do not ask for it

    return html(report, changes)


def _json(report: Report, _: Changes) -> str:
    return report.json().decode()


_FORMS = {"json": _json, "csv": _csv, "html": _html}
