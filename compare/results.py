"""The results as data: these classes are the JSON, schema 2. Fields may be added; none changes.

Times are in seconds, memory in bytes, fractions in 0..1. `None` is a figure that could not be
measured on this machine, or that the cell does not have.
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
    """Times at these ranks; None if there are too few samples for the rank."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None
    mean: float | None = None


class Rate(msgspec.Struct, frozen=True):
    """Calls a second of an open loop: `offered` by arrivals, and `achieved`.

    `skipped` arrivals were due but never sent: all callers were busy until the end. `overloaded`
    means that calls arrived faster than the server answered them; response times then only reflect
    the length of the window. In a deliberate overload calls have a short timeout, so it shows in
    their errors instead; `peak` is then the server's calls a second in a closed loop.
    """

    offered: float
    achieved: float
    skipped: int
    overloaded: bool = False
    peak: float | None = None


class Cpu(msgspec.Struct, frozen=True):
    """CPU seconds a call of server and client, and the fraction of the time that each was busy."""

    server_per_call: float | None = None
    client_per_call: float | None = None
    server_busy: float | None = None
    client_busy: float | None = None


class Memory(msgspec.Struct, frozen=True):
    """Resident memory in bytes at the end of the window."""

    server: int | None = None
    client: int | None = None


class Little(msgspec.Struct, frozen=True):
    """Check of Little's law, whose two sides are measured separately.

    `whole` is (calls x mean response time) / (mean calls in flight x time), over a slice that
    begins and ends with no call in flight.
    """

    whole: float | None
    ok: bool


class Consistency(msgspec.Struct, frozen=True):
    """Inconsistencies found by a workload's check: lost updates, doubled effects, stale reads.

    They count from the first call of the calibration to the last call of the run.
    """

    lost_updates: int = 0
    duplicated_effects: int = 0
    stale_reads: int = 0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one cell in one round, from one pair of processes: the unit of the statistics.

    `at` is in seconds since the run began; `slices` is how many slices the round had. `throughput`,
    and with a single caller `p50`, are medians over units of the arm's figure relative to the
    others of the unit. All other figures are of all slices together.
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
    """95 % intervals of the geometric mean over rounds; None with fewer than two rounds."""

    throughput: Interval | None = None
    p50: Interval | None = None
    p99: Interval | None = None
    server_cpu: Interval | None = None


class Result(msgspec.Struct, kw_only=True):
    """One cell: an arm (or peer), client style, call style and workload, over all its good rounds.

    A void cell has all its rounds; `void` is then the reason why it proves nothing. The `arm` is a
    `backend` with options of its server. `server_cpu` is the server's CPU seconds a call.

    `calls` is the correct replies in all slices, which took `seconds`; `throughput` is calls a
    second. `errors` and `wrong` (replies to other arguments) count from the first call of the
    calibration to the last; `why` describes the first of them. `latency` runs from the time when a
    call was due (in a closed loop: when it was made), `service` from when it was sent; `slip` is
    the delay between the two. `protect` is how this workload keeps its counters consistent,
    `optimise` how it speeds up reads; "none" is a value of both. `histogram` is the HDR histogram
    of `latency` in nanoseconds: V2, deflated, base64.
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
        """Fill in fields that schema 1 lacks."""
        self.arm = self.arm or self.backend
        if self.server_cpu is None:
            self.server_cpu = self.cpu.server_per_call

    @property
    def good(self) -> list[Round]:
        """The rounds in which Little's law holds; the figures of the others are not reliable."""
        return [made for made in self.rounds if made.little.ok]

    @property
    def sound(self) -> bool:
        """Whether its figures count: it has calls, all replies are correct, Little's law holds."""
        return bool(self.calls) and not self.errors and not self.wrong and not self.void

    @property
    def client_limited(self) -> bool:
        """Whether the load generator limited its calls/s and times."""
        return self.limit == "client"

    @property
    def overloaded(self) -> bool:
        """Whether it is an open loop in which the server or the callers could not keep up."""
        return self.rate is not None and self.rate.overloaded


class Twin(msgspec.Struct, frozen=True, kw_only=True):
    """A/A control: an arm against itself in the cells compared by `figure`; differences are
    noise."""

    figure: str
    ratio: float
    low: float
    high: float
    rounds: int
    ok: bool


class Check(msgspec.Struct, frozen=True):
    """A condition for trusting the figures, and its outcome in words (`says`)."""

    name: str
    ok: bool
    says: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of two cells that differ in one thing: arm, call style or variant of a workload.

    The first is `arm`, `style`, `workload`; the second `against`, `against_style`,
    `against_workload`. `figure` is throughput, p50, p99 or server_cpu. A `ratio` above 1 means that
    the first is better, whatever the figure; `low` to `high` is its interval, and `verdict` is the
    first cell's. A `sure` claim holds at 95 % together with all others of the run (Holm), any other
    together with those of its cell (Tukey). `detectable` is the smallest difference (0.05 is 5 %)
    that a run like this one detects 80 % of the time; `p` is not corrected.
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
        """The same claim with the two cells exchanged."""
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
        """The verdict and its sureness, in words."""
        return f"{self.verdict}, sure" if self.sure else self.verdict

    @property
    def of_arms(self) -> bool:
        """Whether it compares two arms."""
        return self.arm != self.against

    @property
    def of_styles(self) -> bool:
        """Whether it compares two call styles."""
        return self.style != self.against_style

    @property
    def of_workloads(self) -> bool:
        """Whether it compares two variants of a workload."""
        return self.workload != self.against_workload


class Prediction(msgspec.Struct, frozen=True):
    """A formula's prediction for a cell from measurements of other cells, with the measured value.

    `error` is relative to the measured value.
    """

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
    """The conclusions of a run, in words."""

    text: list[str] = []
    caveats: list[str] = []
    trusted: bool = True


class Speed(msgspec.Struct, frozen=True):
    """Speed of the processors in repeated probes, as fractions of the fastest one: the 5 % quantile
    (`slowest`) and the median."""

    slowest: float
    median: float


class Overshoot(msgspec.Struct, frozen=True):
    """Seconds by which a sleep of 1 ms ends late."""

    p50: float
    p99: float


class Environment(msgspec.Struct, kw_only=True):
    """The machine and the software that the figures depend on."""

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
    """The plan of the run, fixed before the first round. `command` repeats it with the same seed.

    `units` is the number of units a round, by workload and call style; in a `duet` all servers work
    at once. `dropped` workloads were left out for lack of time; `lacking` lists for each peer the
    cells that it does not support; `state` is the store of workloads that need one.
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
    """A named backend with options of `ringback serve`.

    `python` and `version` are the interpreter and version of another installation of ringback, if
    that one serves. `transport` is the transport of both ends; empty for their default.
    """

    name: str
    backend: str
    options: tuple[str, ...] = ()
    python: str = ""
    version: str = ""
    transport: str = ""

    @property
    def processes(self) -> int:
        """Processes of its server."""
        for word, after in pairwise((*self.options, "")):
            name, _, value = word.partition("=")
            if name == "--processes":
                number = value or after
                return int(number) if number.isdecimal() else 1
        return 1


class Report(msgspec.Struct, kw_only=True):
    """A whole run. `skipped` are backends whose library is not installed; `failures` are
    measurements that failed, with the reason. `twins` has an A/A control for each figure that
    claims use."""

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
        """The report as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
