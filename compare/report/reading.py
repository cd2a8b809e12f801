"""Reports that were written as JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...errors import UsageError
from ..results import SCHEMA, Report


class _Versioned(msgspec.Struct):
    """What a report of any version begins with."""

    schema: int


def runs(name: str) -> list[Report]:
    """The report of a file, or those of all files of a folder whose names end in .json. Raises UsageError as `read` does, and where a
    folder has none."""
    if not Path(name).is_dir():
        return [read(name)]
    files = sorted(Path(name).glob("*.json"))
    if not files:
        raise UsageError(f"{name} has no file whose name ends in .json")
    return [read(str(each)) for each in files]


def read(name: str) -> Report:
    """A report. Raises UsageError where it cannot be read, is of another version, or is none."""
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    try:
        schema = msgspec.json.decode(data, type=_Versioned).schema
        if schema != SCHEMA:
            raise UsageError(f"{name} has schema {schema}: this version of ringback reads schema {SCHEMA}")
        return msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} is no report of ringback compare: {error}") from None
