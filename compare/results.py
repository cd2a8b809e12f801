"""The outcome as data: these classes are the JSON, schema 1. Fields may be added; one that is there keeps its meaning."""

from __future__ import annotations

import msgspec

SCHEMA = 1


class Latency(msgspec.Struct, frozen=True):
    """Seconds from a call's start to its reply, at these ranks; None where no call was answered in the window."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One cell: a backend, a client style, a call style, a workload.

    `calls` were answered rightly within the window of `seconds`, and `throughput` is how many of them a second. `errors` and `wrong`
    (answers that belong to other arguments) count from the first call of the warm-up to the last one that was waited for.
    """

    backend: str
    client: str
    style: str
    workload: str
    concurrency: int
    throughput: float
    latency: Latency
    errors: int
    calls: int
    errors_by_code: dict[str, int]
    wrong: int
    workers: int
    seconds: float


class Environment(msgspec.Struct, kw_only=True):
    """What the figures depend on."""

    ringback: str
    python: str
    implementation: str
    platform: str
    kernel: str
    cpus: int
    cpu_model: str
    packages: dict[str, str | None]
    seed: int
    started: str
    load_before: list[float] | None
    quick: bool
    warmup: float
    window: float
    cpu_steps: int
    twisted_reactor: str | None = None


class Report(msgspec.Struct, kw_only=True):
    """A whole run. `skipped` are backends whose library is not installed, `failures` what could not be measured, and why."""

    schema: int = SCHEMA
    environment: Environment
    results: list[Result] = []
    skipped: list[str] = []
    failures: list[str] = []
    complete: bool = False

    def json(self) -> bytes:
        """As a file that a person can read too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
