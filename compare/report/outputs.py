"""A report as files: JSON with everything, CSV with a line for each cell, HTML with plots."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ...errors import UsageError
from ..results import Report
from .difference import UNCHANGED, ReportChanges

STDOUT = "-"


class Outputs(NamedTuple):
    """The file of each format; `-` is standard output, None is no output."""

    json: str | None = None
    csv: str | None = None
    html: str | None = None

    @property
    def on_stdout(self) -> bool:
        """Whether one format goes to standard output."""
        return STDOUT in self

    def check(self) -> None:
        """Check the files before the run. Raises UsageError if one cannot be written."""
        if self.count(STDOUT) > 1:
            raise UsageError("only one of --json, --csv and --html can go to standard output")
        for option, name in zip(self._fields, self, strict=True):
            if name is None or name == STDOUT:
                continue
            path = Path(name)
            if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
                raise UsageError(f"--{option}: {name} cannot be written")

    def write(self, report: Report, changes: ReportChanges = UNCHANGED) -> None:
        """Write all files. Raises UsageError, after writing the others, if one cannot be
        written."""
        failed = []
        for option, name in zip(self._fields, self, strict=True):
            if name is None:
                continue
            data = _FORMS[option](report, changes)
            try:
                _put(data, name)
            except BrokenPipeError:
                raise  # the reader of the pipe has quit, which is no failure to write
            except OSError as error:
                failed.append(f"--{option}: {name} cannot be written: {error.strerror}")
        if failed:
            raise UsageError("; ".join(failed))


def _put(data: str, name: str) -> None:
    if name == STDOUT:
        sys.stdout.write(data)
        sys.stdout.flush()
    else:
        Path(name).write_text(data, encoding="utf-8")


def _csv(report: Report, _: ReportChanges) -> str:
    rows = [dict(_flat(msgspec.to_builtins(each))) for each in (*report.results, *report.peers)]
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(value: object, *names: str) -> Iterator[tuple[str, object]]:
    """The fields of a cell as in the JSON, except None, rounds and histogram; nested fields have
    the names of their parents as prefix."""
    match value:
        case None:
            return
        case dict():
            for name, each in value.items():
                if name not in ("rounds", "histogram"):
                    yield from _flat(each, *names, name)
        case [low, high]:
            yield "_".join((*names, "low")), low
            yield "_".join((*names, "high")), high
        case _:
            yield "_".join(names), value


def _html(report: Report, changes: ReportChanges) -> str:
    from .page import html  # imports plotly only if it is needed

    return html(report, changes)


def _json(report: Report, _: ReportChanges) -> str:
    return report.json().decode()


_FORMS = {"json": _json, "csv": _csv, "html": _html}
