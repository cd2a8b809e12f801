"""Read reports from JSON: of this schema, and of the first one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...errors import UsageError
from ..results import SCHEMA, Report

_FIRST = 1


def runs(name: str) -> list[Report]:
    """The report of a file, or the reports of all *.json files of a folder.

    Raises UsageError as `read` does, and if the folder has no such file.
    """
    if not Path(name).is_dir():
        return [read(name)]
    files = sorted(Path(name).glob("*.json"))
    if not files:
        raise UsageError(f"{name} has no .json files")
    return [read(str(each)) for each in files]


def read(name: str) -> Report:
    """The report of a file. Raises UsageError if it cannot be read, or is not a report."""
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    try:
        found = msgspec.json.decode(data)
        schema = found.get("schema") if isinstance(found, dict) else None
        if schema == _FIRST:
            _renew(found)
        elif schema != SCHEMA and isinstance(schema, int):
            raise UsageError(
                f"{name} has schema {schema}: this version of ringback reads schemas {_FIRST} and "
                f"{SCHEMA}"
            )
        return msgspec.convert(found, Report)
    except (
        msgspec.DecodeError,
        msgspec.ValidationError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
    ) as error:
        raise UsageError(f"{name} is not a report of ringback compare: {error}") from None


def _renew(found: dict[str, Any]) -> None:
    """Convert schema 1 to 2 in place. In schema 1 arms were backends, each kind of claim had a
    class, and a disturbed window had the limit "machine"."""
    for result in (*found.get("results", ()), *found.get("peers", ())):
        for made in (result, *result.get("rounds", ())):
            if made.get("limit") == "machine":
                made["limit"] = "waiting"
    for each in found.get("predictions", ()):
        each["arm"], each["figure"] = each["backend"], each["metric"]
    found["schema"], found["twins"] = SCHEMA, []
    trusted = found.get("verdict", {}).get("trusted", True)
    found["claims"] = list(_claims(found)) if trusted else []


def _claims(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in found.get("comparisons", ()):
        # In schema 2 the best arm comes first.
        yield _claim(each, arm=each["best"], against=each["backend"], turned=True)
    for each in found.get("styles", ()):
        yield _claim(each, against_style=each["than"])
    for each in found.get("ways", ()):
        plain = each["workload"]
        first = each["than"] in ("none", "round-robin") and each["way"]
        yield _claim(each, workload=f"{plain}-{first}", against_workload=plain)


def _claim(each: dict[str, Any], *, turned: bool = False, **sides: str) -> dict[str, Any]:
    low, high = each["interval"]
    ratio, outcome = each["ratio"], each["outcome"]
    # In schema 1 a ratio was that of the figures, so a ratio of times below 1 was better.
    if (each["metric"] != "throughput") != turned:
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    if turned:
        outcome = {"better": "worse", "worse": "better"}.get(outcome, outcome)
    own = {
        name: each[name] for name in ("workload", "client", "style", "p", "detectable", "rounds")
    }
    arm = each["backend"]
    claim = {"figure": each["metric"], "ratio": ratio, "low": low, "high": high, "verdict": outcome}
    made = {**own, **claim, "arm": arm, "against": arm, "sure": outcome != "unclear", **sides}
    return {"against_style": made["style"], "against_workload": made["workload"], **made}
