"""Reports that were never measured, with what a real one has."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import ringback
from rich.console import Console, RenderableType
from rich.text import Text
from ringback.compare.report.table import WIDE, view
from ringback.compare.report.verdict import verdict
from ringback.compare.results import (
    Arm,
    Check,
    Cpu,
    Design,
    Environment,
    Latency,
    Little,
    Memory,
    Rate,
    Report,
    Result,
    Round,
    Speed,
)
from ringback.compare.run.measured import histogram
from ringback.compare.statistics.analysis import analyse
from ringback.compare.statistics.noise import ControlPair
from ringback.compare.statistics.predictions import predict

BACKENDS = ("asyncio", "gevent", "threading", "twisted")
STYLES = ("request-reply", "fire-and-callback")


def environment(**changes: Any) -> Environment:
    fields: dict[str, Any] = {
        "ringback": "1",
        "python": "3.11.0",
        "implementation": "CPython",
        "platform": "Linux",
        "kernel": "6",
        "cpus": 2,
        "cpu_model": "a CPU",
        "packages": {"pyzmq": "27"},
        "seed": 1,
        "started": "2025-01-01T00:00:00+00:00",
        "load_before": [0.5, 0.5, 0.5],
        "quick": False,
        "cpu_steps": 1000,
    }
    return Environment(**{**fields, **changes})


def result(backend: str, workload: str, style: str, rounds: list[float], **changes: Any) -> Result:
    """One cell; `rounds` are its throughputs, of which the response times follow."""
    mean = sum(rounds) / len(rounds)
    opened = workload == "echo-rate"
    rate = Rate(mean, mean, 0) if opened else None
    made = [
        Round(
            round=number,
            at=10.0 * number,
            slices=4,
            throughput=value,
            calls=int(value / 5),
            p50=10 / value,
            p90=15 / value,
            p99=20 / value,
            mean=11 / value,
            rate=rate,
            cpu=Cpu(0.4 / value, 0.5 / value, 0.4, 0.5),
            memory=Memory(40 << 20, 30 << 20),
            little=Little(1.0, True),
            limit="waiting",
        )
        for number, value in enumerate(rounds, 1)
    ]
    fields: dict[str, Any] = {
        "client": "threading",
        "concurrency": 64,
        "throughput": mean,
        "latency": Latency(10 / mean, 15 / mean, 20 / mean, 25 / mean, 30 / mean, 11 / mean),
        "errors": 0,
        "calls": int(mean),
        "errors_by_code": {},
        "wrong": 0,
        "workers": 64,
        "seconds": 0.2 * len(rounds),
        "loop": "open" if opened else "closed",
        "rate": rate,
        "service": Latency(9 / mean, 14 / mean, 19 / mean, 24 / mean, 29 / mean, 10 / mean)
        if opened
        else None,
        "slip": Latency(1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 1e-4) if opened else None,
        "cpu": Cpu(0.4 / mean, 0.5 / mean, 0.4, 0.5),
        "memory": Memory(40 << 20, 30 << 20),
        "rounds": made,
        "histogram": _times(mean),
    }
    return Result(backend=backend, workload=workload, style=style, **{**fields, **changes})


@cache
def _times(mean: float) -> str:
    samples = np.random.default_rng(1).lognormal(np.log(10 / mean), 0.3, 2000)
    return str(histogram(samples).encode().decode())


def cell(
    speeds: dict[str, float],
    workload: str = "io",
    style: str = STYLES[0],
    rounds: int = 8,
    noise: float = 0.01,
    seed: int = 1,
) -> list[Result]:
    """A cell of every backend: as fast as `speeds` says, with noise of each window and of each
    round.
    """
    chance = random.Random(seed)
    shared = [chance.lognormvariate(0, 3 * noise) for _ in range(rounds)]
    return [
        result(
            name,
            workload,
            style,
            [speed * each * chance.lognormvariate(0, noise) for each in shared],
        )
        for name, speed in speeds.items()
    ]


def report(*results: Result, **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "environment": environment(),
        "design": Design(
            rounds=8,
            explanations={"echo": "32 bytes back", "io": "waits 10 ms"},
            command="ringback compare",
        ),
        "results": list(results),
        "complete": True,
    }
    return Report(**{**fields, **changes})


def whole() -> Report:
    """A report with something of everything, but for what is worked out from it."""
    results = [
        made
        for number, workload in enumerate(("lone", "echo", "echo-rate", "io", "cpu"))
        for style in STYLES
        if (workload, style) not in (("lone", STYLES[1]), ("echo-rate", STYLES[0]))
        for made in cell(
            {name: 1000.0 * (1 + place / 5) for place, name in enumerate(BACKENDS)},
            workload,
            style,
            seed=number,
        )
    ]
    for made in results:
        if (made.backend, made.workload) == ("gevent", "echo"):
            made.limit = "client"
    return report(
        *results,
        arms=[Arm(name, name) for name in BACKENDS],
        peers=[
            result(
                "rpyc",
                "io",
                STYLES[0],
                [900.0, 950.0],
                client="rpyc",
                peer=True,
                difference="threads & more",
            )
        ],
        checks=[
            Check(
                "control", True, "the same arm twice in 8 rounds: server_cpu 1.000 (0.990..1.010)"
            )
        ],
        speed=Speed(0.9, 0.98),
    )


def finished(made: Report, controls: Sequence[ControlPair] = ()) -> Report:
    """The same, with all that is worked out from it."""
    analyse(made, controls)
    predict(made)
    made.verdict = verdict(made)
    return made


def printed(made: Report | Iterable[RenderableType], width: int | None = None) -> str:
    """As a terminal of that width shows it, or, where that is None, a pipe."""
    console = Console(file=io.StringIO(), width=width or WIDE)
    for each in view(made, console.width) if isinstance(made, Report) else made:
        console.print(each, soft_wrap=width is None and isinstance(each, Text), highlight=False)
    return console.file.getvalue()  # type: ignore[attr-defined]


def installation(home: Path, version: str = "0.0.1") -> Path:
    """A virtual environment, as far as `--against` can tell: this interpreter, and this package
    under another version.
    """
    package, python = home / "lib" / "ringback", home / "bin" / "python"
    package.mkdir(parents=True)
    for each in Path(ringback.__file__).parent.iterdir():
        if each.name not in ("version.py", "__pycache__"):
            (package / each.name).symlink_to(each)
    (package / "version.py").write_text(f'__version__ = "{version}"\n')
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={package.parent} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return home


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values, in their order, each adjusted for how many there are: below 0.05 where the
    family's error rate is kept at 5 %.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    adjusted, highest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        highest = max(highest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = highest
    return adjusted
