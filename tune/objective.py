"""What response times are asked for: the objective of `--slo`."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..compare.report.conditions import UNITS

_FORM = re.compile(r"\s*(p50|p90|p99|p999|p99\.9|max|mean)\s*(?:=|<=?)\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s)\s*")


class Objective(NamedTuple):
    """A response time, by its field in `results.Latency`, that must not be more than so many seconds."""

    rank: str
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Objective:
        """`p99=20ms`. Raises ValueError, which says how it must look."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"bad objective {text!r}: it must look like p99=20ms")
        return cls(match[1].replace(".", ""), float(match[2]) * UNITS[match[3]])

    def __str__(self) -> str:
        return f"{self.rank} <= {self.seconds * 1000:g} ms"
