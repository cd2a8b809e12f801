"""A report as files: JSON with everything, CSV with a line for each cell, HTML to be looked at."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...errors import UsageError
from ..results import Balance, Consistency, Report, Result
from .difference import UNCHANGED, Changes

STDOUT = "-"


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
    writer = csv.DictWriter(text, list(_row(None)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_row, (*report.results, *report.peers)))
    return text.getvalue()


def _row(result: Result | None) -> dict[str, object]:
    """Columns by their name: figures in seconds, bytes and calls/s. Without a result, the names alone."""
    part = partial(getattr, result)
    low, high = (result and result.interval.throughput) or (None, None)
    ends = (
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
    )
    return {
        **_some(result, *ends, "throughput"),
        "throughput_low": low,
        "throughput_high": high,
        **_some(part("rate", None), "offered", "achieved"),
        **_some(part("latency", None), "p50", "p90", "p99", "p999", "max", "mean"),
        "server_cpu_per_call": result and result.cpu.server_per_call,
        "client_cpu_per_call": result and result.cpu.client_per_call,
        "server_resident": result and result.memory.server,
        **_some(result, "errors", "wrong", "limit", "void", "protect", "optimise"),
        **_some(part("consistency", None), *Consistency.__struct_fields__),
        **_some(result, "policy", "servers"),
        **_some(part("balance", None), *Balance.__struct_fields__),
    }


def _some(of: object, *names: str) -> dict[str, object]:
    """These attributes; None each where there is nothing to have them."""
    return {name: getattr(of, name, None) for name in names}


def _html(report: Report, changes: Changes) -> str:
    from .page import html  # plotly is not imported by those who do not ask for it

    return html(report, changes)


def _json(report: Report, _: Changes) -> str:
    return report.json().decode()


_FORMS = {"json": _json, "csv": _csv, "html": _html}
