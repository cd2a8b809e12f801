"""The objective of `--slo`: a maximum response time."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..compare.report.conditions import UNITS

_FORM = re.compile(
    r"\s*(p50|p90|p99|p999|p99\.9|max|mean)\s*(?:=|<=?)\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s)\s*"
)


class Objective(NamedTuple):
    """A response time, named by its field in `results.Latency`, and its maximum in seconds."""

    rank: str
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Objective:
        """The objective in a text such as `p99=20ms`. Raises ValueError, which explains the
        form."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"bad objective {text!r}: use the form p99=20ms")
        return cls(match[1].replace(".", ""), float(match[2]) * UNITS[match[3]])

    def __str__(self) -> str:
        return f"{self.rank} <= {self.seconds * 1000:g} ms"
