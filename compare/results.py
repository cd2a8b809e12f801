"""The outcome as data: these classes are the JSON, schema 2. Fields may be added; one that is there keeps its meaning.

Times are in seconds, memory in bytes, shares in 0..1. A `None` is what could not be measured here, or makes no sense for the cell.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import msgspec

SCHEMA = 2

Loop = Literal["closed", "open"]
Limit = Literal["server", "client", "both", "waiting"]
Outcome = Literal["better", "equal", "worse", "unclear"]
Interval = tuple[float, float]


class Latency(msgspec.Struct, frozen=True):
    """Where the times lie at these ranks; None where there are too few samples to tell."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None
    mean: float | None = None


class Rate(msgspec.Struct, frozen=True):
    """Of an open loop, in calls a second; `skipped` arrivals were due but never sent, as all callers were busy until the end.

    `overloaded` is where calls came faster than they were answered: then response times only tell how long the window was. Where that was
    meant, and calls had so little time that it is their errors that tell of it, `peak` is what the server does when callers wait.
    """

    offered: float
    achieved: float
    skipped: int
    overloaded: bool = False
    peak: float | None = None


class Cpu(msgspec.Struct, frozen=True):
    """Of both ends: CPU seconds a call, and the part of the window in which that end had no processor to spare."""

    server_per_call: float | None = None
    client_per_call: float | None = None
    server_busy: float | None = None
    client_busy: float | None = None


class Memory(msgspec.Struct, frozen=True):
    """Resident bytes at the end of the window."""

    server: int | None = None
    client: int | None = None


class Little(msgspec.Struct, frozen=True):
    """Little's law, its sides measured apart: `whole` is (calls x mean response) / (in flight x time) from empty to empty."""

    whole: float | None
    ok: bool


class Consistency(msgspec.Struct, frozen=True):
    """Of workloads that have a check: effects that are lost, there twice, or were read when they no longer held, from the first
    call of the calibration to the last."""

    lost_updates: int = 0
    duplicated_effects: int = 0
    stale_reads: int = 0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one pair of processes has shown in a round, in so many `slices`: the unit of the statistics. `at` is seconds since the run
    began.

    In each slice calls are made for a moment, and then waited for. `throughput` and, of calls that come one by one, `p50` are by the
    median of how each arm did beside the others that took turns with it; all else is of all slices together.
    """

    round: int
    at: float
    slices: int = 1
    throughput: float
    calls: int
    p50: float | None
    p90: float | None
    p99: float | None
    mean: float | None
    rate: Rate | None = None
    cpu: Cpu
    memory: Memory
    little: Little
    limit: Limit


class Intervals(msgspec.Struct, frozen=True):
    """95 % intervals over rounds, of the geometric mean; None with fewer than two rounds."""

    throughput: Interval | None = None
    p50: Interval | None = None
    p99: Interval | None = None
    server_cpu: Interval | None = None


class Result(msgspec.Struct, kw_only=True):
    """One cell: an arm (or peer), a client style, a call style, a workload; all its good rounds together, or all where it is void.

    The `arm` is a `backend` with the options of its server. `server_cpu` is the server's CPU seconds a call.

    `calls` were answered rightly within slices of `seconds` in all, and `throughput` is how many of them a second. `errors` and `wrong`
    (answers that belong to other arguments) count from the first call of the calibration to the last; `why` is what made the first wrong
    answer one, or the first error. `latency` is counted from when a call was due: in a closed loop, when it was made. `service` is counted
    from when it was sent, and `slip` is how much later than due that was. `void` says why the cell proves nothing, if it does not.
    `protect` is what keeps the counters of this workload consistent, `optimise` what speeds up its reads; "none" is one of either.
    `histogram` is the HDR histogram of `latency` in nanoseconds, V2, deflated, base64.
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
    arm: str = ""
    server_cpu: float | None = None
    protect: str | None = None
    optimise: str | None = None
    loop: Loop = "closed"
    rate: Rate | None = None
    service: Latency | None = None
    slip: Latency | None = None
    methods: dict[str, Latency] = {}
    interval: Intervals = Intervals()
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    consistency: Consistency | None = None
    limit: Limit = "waiting"
    void: str = ""
    why: str = ""
    peer: bool = False
    difference: str = ""
    rounds: list[Round] = []
    histogram: str = ""

    def __post_init__(self) -> None:
        """What schema 1 did not have."""
        self.arm = self.arm or self.backend
        if self.server_cpu is None:
            self.server_cpu = self.cpu.server_per_call

    @property
    def good(self) -> list[Round]:
        """The rounds in which Little's law closed: what the others show is not known."""
        return [made for made in self.rounds if made.little.ok]

    @property
    def sound(self) -> bool:
        """Whether its figures mean anything: there were calls, all answered rightly, and Little's law held."""
        return bool(self.calls) and not self.errors and not self.wrong and not self.void

    @property
    def client_limited(self) -> bool:
        """Whether its calls/s and times are those of the load generator."""
        return self.limit == "client"

    @property
    def overloaded(self) -> bool:
        """Whether it is an open loop that the server or the callers could not keep up with."""
        return self.rate is not None and self.rate.overloaded


class Twin(msgspec.Struct, frozen=True, kw_only=True):
    """An arm measured against itself in each round: what this says is different is noise, in the cells that are compared by `figure`."""

    figure: str
    ratio: float
    low: float
    high: float
    rounds: int
    ok: bool


class Check(msgspec.Struct, frozen=True):
    """Something that must hold if the figures are to be trusted."""

    name: str
    ok: bool
    says: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of two cells that differ in one thing: `arm` beside the arm `against`; or of one arm its `style` beside
    `against_style`, or its `workload` beside `against_workload`.

    They are compared by the `figure` throughput, p50, p99 or server_cpu. A `ratio` above 1 means that the first is better, whatever the
    figure; `low` to `high` is its interval, and `verdict` what the first is. A claim that is `sure` holds at 95 % together with all others
    of the run (Holm), another one together with those of its cell (Tukey). `detectable` is the smallest difference (0.05 is 5 %) that a run
    like this one finds four times in five; `p` is not corrected.
    """

    workload: str
    client: str
    style: str
    arm: str
    against: str
    against_style: str
    against_workload: str
    figure: str
    ratio: float
    low: float
    high: float
    verdict: Outcome
    sure: bool
    p: float
    detectable: float
    rounds: int

    def turned(self) -> Claim:
        """The same, said of the other."""
        turned: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}
        return msgspec.structs.replace(
            self,
            workload=self.against_workload,
            style=self.against_style,
            arm=self.against,
            against=self.arm,
            against_style=self.style,
            against_workload=self.workload,
            ratio=1 / self.ratio,
            low=1 / self.high,
            high=1 / self.low,
            verdict=turned.get(self.verdict, self.verdict),
        )

    @property
    def wording(self) -> str:
        """The verdict, and whether it is sure, in words."""
        return f"{self.verdict}, sure" if self.sure else self.verdict

    @property
    def of_arms(self) -> bool:
        """Whether it is about two arms."""
        return self.arm != self.against

    @property
    def of_styles(self) -> bool:
        """Whether it is about two call styles."""
        return self.style != self.against_style

    @property
    def of_workloads(self) -> bool:
        """Whether it is about two variants of a workload."""
        return self.workload != self.against_workload


class Prediction(msgspec.Struct, frozen=True):
    """What a formula says of a cell, from measurements of other cells, beside what was measured; `error` is relative to that."""

    arm: str
    client: str
    style: str
    workload: str
    figure: str
    model: str
    inputs: str
    predicted: float
    measured: float
    error: float
    judgement: str


class Verdict(msgspec.Struct, frozen=True):
    """In words."""

    text: list[str] = []
    caveats: list[str] = []
    trusted: bool = True


class Speed(msgspec.Struct, frozen=True):
    """How fast the processors ran, as parts of the best that was seen: from the twentieth of all looks that was slowest to the median."""

    slowest: float
    median: float


class Overshoot(msgspec.Struct, frozen=True):
    """Seconds that a sleep of 1 ms takes longer."""

    p50: float
    p99: float


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
    cpu_steps: int
    gil: bool = True
    sleep_overshoot: Overshoot | None = None


class Design(msgspec.Struct, kw_only=True):
    """How the run was laid out, before anything was measured. `command` repeats it with the same seed. In each round all arms take turns as
    often as `units` says, by cell; in a `duet` they work at once.

    `dropped` are workloads for which there was no time; `lacking` has for each other library the cells that it has nothing for;
    `state` is where workloads that need a store have theirs.
    """

    command: str = ""
    rounds: int = 0
    seconds: float = 0.0
    workers: int = 64
    loop: Loop = "closed"
    duet: bool = False
    pinned: str = ""
    state: str = ""
    margin: float = 0.05
    confidence: float = 0.95
    dropped: list[str] = []
    units: dict[str, int] = {}
    lacking: dict[str, list[str]] = {}
    explanations: dict[str, str] = {}


class Arm(msgspec.Struct, frozen=True):
    """What is compared under that name: a backend, with options of `ringback serve`; where another installation of ringback serves, with
    that one's interpreter (`python`) and `version`. `transport` is that of both ends, where they are told one."""

    name: str
    backend: str
    options: tuple[str, ...] = ()
    python: str = ""
    version: str = ""
    transport: str = ""

    @property
    def processes(self) -> int:
        """Of its server."""
        for word, after in pairwise((*self.options, "")):
            name, _, value = word.partition("=")
            if name == "--processes":
                number = value or after
                return int(number) if number.isdecimal() else 1
        return 1


class Report(msgspec.Struct, kw_only=True):
    """A whole run. `skipped` are backends whose library is not installed, `failures` what could not be measured, and why. `twins` has one
    for each figure that is claimed anything of."""

    schema: int = SCHEMA
    environment: Environment
    design: Design = msgspec.field(default_factory=Design)
    arms: list[Arm] = []
    results: list[Result] = []
    peers: list[Result] = []
    twins: list[Twin] = []
    checks: list[Check] = []
    claims: list[Claim] = []
    predictions: list[Prediction] = []
    speed: Speed | None = None
    verdict: Verdict = Verdict()
    skipped: list[str] = []
    failures: list[str] = []
    complete: bool = False
    finished: str = ""

    def json(self) -> bytes:
        """As a file that a person can read too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
