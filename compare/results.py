"""The outcome as data: these classes are the JSON, schema 1. Fields may be added; one that is there keeps its meaning.

Times are in seconds, memory in bytes, shares in 0..1. A `None` is what could not be measured here, or makes no sense for the cell.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = 1

Loop = Literal["closed", "open"]
Limit = Literal["server", "client", "both", "waiting", "machine"]
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


class Waiting(msgspec.Struct, frozen=True):
    """Of the server, for each call: seconds ready to run without a processor, and context switches that it asked for or suffered."""

    runqueue_per_call: float | None = None
    voluntary_per_call: float | None = None
    involuntary_per_call: float | None = None


class Memory(msgspec.Struct, frozen=True):
    """Resident bytes at the end of the window; `per_connection` only where idle clients are the workload."""

    server: int | None = None
    client: int | None = None
    per_connection: float | None = None


class Little(msgspec.Struct, frozen=True):
    """Little's law, its sides measured apart. `whole` is (calls x mean response) / (in flight x time) from empty to empty; `window`, of
    a closed loop, is throughput x (response + think time) / callers, off by at most `allowed`."""

    whole: float | None
    window: float | None
    allowed: float
    ok: bool


class Consistency(msgspec.Struct, frozen=True):
    """Of workloads that have a check: effects that are lost, there twice, or were read when they no longer held, from the first
    call of the rehearsal to the last."""

    lost_updates: int = 0
    duplicated_effects: int = 0
    stale_reads: int = 0


class Balance(msgspec.Struct, frozen=True):
    """Of workloads in which one of several servers is slow, by what the servers themselves saw: of the calls that they began within the
    windows the part that the slow one did; and how many more they began than were made, from the first call of a warm-up to the last, for
    each that was made: those were sent to a second server."""

    slow_share: float
    sent_twice: float


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One window, in server and client processes of its own: the unit of the statistics. `at` is seconds since the run began.

    `contaminated`, where not empty, says what else ran on the machine; such a window is measured again once, and is then `repeated`.
    """

    round: int
    at: float
    throughput: float
    calls: int
    p50: float | None
    p90: float | None
    p99: float | None
    mean: float | None
    service_mean: float | None = None
    rate: Rate | None = None
    cpu: Cpu
    waiting: Waiting
    memory: Memory
    little: Little
    limit: Limit
    ceiling_share: float | None = None
    steal: float | None = None
    others: float | None = None
    contaminated: str = ""
    repeated: bool = False
    steady: bool = True


class Tick(msgspec.Struct, frozen=True):
    """A part of a window: `t` seconds after its beginning, calls a second, response times."""

    round: int
    t: float
    rate: float
    p50: float | None
    p99: float | None


class Intervals(msgspec.Struct, frozen=True):
    """95 % intervals over rounds, of the geometric mean; None with fewer than two rounds."""

    throughput: Interval | None = None
    p50: Interval | None = None
    p99: Interval | None = None
    server_cpu: Interval | None = None


class Result(msgspec.Struct, kw_only=True):
    """One cell: a backend (or peer), a client style, a call style, a workload; all its good rounds together, or all where it is void.

    `calls` were answered rightly within windows of `seconds` in all, and `throughput` is how many of them a second. `errors` and `wrong`
    (answers that belong to other arguments) count from the first call of a warm-up to the last one that was waited for; `why` is what
    made the first wrong answer one. `latency` is counted from when a call was due: in a closed loop, when it was made. `service` is
    counted from when it was sent, and `slip` is how much later than due that was. `void` says why the cell proves nothing, if it does
    not. `protect` is what keeps the counters of this workload consistent, `optimise` what speeds up its reads; "none" is one of either.
    `policy` is how one of its `servers` is chosen for each call, where one is slow.
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
    protect: str | None = None
    optimise: str | None = None
    policy: str | None = None
    servers: int = 1
    loop: Loop = "closed"
    rate: Rate | None = None
    service: Latency | None = None
    slip: Latency | None = None
    methods: dict[str, Latency] = {}
    interval: Intervals = Intervals()
    cpu: Cpu = Cpu()
    waiting: Waiting = Waiting()
    memory: Memory = Memory()
    consistency: Consistency | None = None
    balance: Balance | None = None
    limit: Limit = "waiting"
    ceiling_share: float | None = None
    void: str = ""
    why: str = ""
    peer: bool = False
    difference: str = ""
    rounds: list[Round] = []
    histogram: str = ""
    series: list[Tick] = []

    @property
    def good(self) -> list[Round]:
        """The rounds in which Little's law closed: what the others show is not known."""
        return [made for made in self.rounds if made.little.ok]

    @property
    def sound(self) -> bool:
        """Whether its figures mean anything: there were calls, all answered rightly, and Little's law held."""
        return bool(self.calls) and not self.errors and not self.wrong and not self.void

    @property
    def overloaded(self) -> bool:
        """Whether it is an open loop that the server or the callers could not keep up with."""
        return self.rate is not None and self.rate.overloaded


class Point(msgspec.Struct, frozen=True):
    """One window of the sweep: echo with so many callers."""

    backend: str
    client: str
    style: str
    workload: str
    round: int
    concurrency: int
    throughput: float
    p50: float | None
    p99: float | None
    mean: float | None


class Ceiling(msgspec.Struct, frozen=True):
    """What the load generator gets out of a server that does nothing, in each window and as the median of those that nothing disturbed (if
    all were, as the most): no cell of it can show more.

    Where that server is the `limit` nevertheless, it is no ceiling of the generator, and no cell is judged by it.
    """

    client: str
    style: str
    throughput: float
    rounds: list[float]
    limit: Limit = "client"


class Step(msgspec.Struct, frozen=True):
    """One rate that a search tried, and how many of its windows met the objective."""

    rate: float
    windows: int
    passed: int
    value: float | None


class Search(msgspec.Struct, frozen=True):
    """The highest rate at which the objective still held lies from `passes` to below `fails` (None: the search ended without a failure)."""

    backend: str
    client: str
    style: str
    workload: str
    round: int
    objective: str
    passes: float
    fails: float | None
    steps: list[Step]


class Twin(msgspec.Struct, frozen=True):
    """The same backend measured against itself in each round: what this says is different is noise, in the cells that are judged by
    `metric`. Where it was measured in several cells, they are all named."""

    workload: str
    client: str
    style: str
    ratio: float
    interval: Interval
    rounds: int
    ok: bool
    metric: str = "throughput"


class Check(msgspec.Struct, frozen=True):
    """Something that must hold if the figures are to be trusted."""

    name: str
    ok: bool
    says: str


class Comparison(msgspec.Struct, frozen=True):
    """A claim: `backend` against `best` in one cell. `ratio` is backend / best, its interval corrected for all that the run claims.

    `metric` is throughput, p50, p99 or server_cpu. `outcome` is what `backend` is: for times and CPU, less is better. `detectable` is the
    smallest difference (0.05 is 5 %) that a run like this one finds four times in five. `rounds_needed` is for those that are unclear.
    """

    workload: str
    client: str
    style: str
    metric: str
    backend: str
    best: str
    ratio: float
    interval: Interval
    p: float
    p_holm: float
    outcome: Outcome
    detectable: float
    rounds: int
    rounds_needed: int | None = None


class StyleComparison(msgspec.Struct, frozen=True):
    """A claim: calls of one backend, by one client, in `style` against the same in the style `than`. `ratio` is style / than, and `outcome`
    what `style` is; all else is as in a `Comparison`, with which it is corrected."""

    workload: str
    client: str
    backend: str
    style: str
    than: str
    metric: str
    ratio: float
    interval: Interval
    p: float
    p_holm: float
    outcome: Outcome
    detectable: float
    rounds: int
    rounds_needed: int | None = None


class WayComparison(msgspec.Struct, frozen=True):
    """A claim: calls of one backend, client and style, of which the workload was measured in that `way` (what protects, speeds up or
    balances it), against the same in the way `than`. `ratio` is way / than, and `outcome` what `way` is; all else is as in a `Comparison`,
    with which it is corrected."""

    workload: str
    client: str
    style: str
    backend: str
    way: str
    than: str
    metric: str
    ratio: float
    interval: Interval
    p: float
    p_holm: float
    outcome: Outcome
    detectable: float
    rounds: int
    rounds_needed: int | None = None


class Law(msgspec.Struct, frozen=True):
    """The Universal Scalability Law fitted to the sweep of one backend; see `models.Scalability` and `models.Fit`."""

    backend: str
    client: str
    style: str
    workload: str
    gamma: float
    alpha: float
    beta: float
    peak: float | None
    most: float | None
    error: float
    held_out_error: float | None
    valid: bool


class Prediction(msgspec.Struct, frozen=True):
    """What a formula says of a cell, from measurements of other cells, beside what was measured; `error` is relative to that."""

    backend: str
    client: str
    style: str
    workload: str
    metric: str
    model: str
    inputs: str
    predicted: float
    measured: float
    error: float
    judgement: str


class Verdict(msgspec.Struct, frozen=True):
    """In words. `winners` has for each cell the backends of which none was shown to be worse than another."""

    text: list[str] = []
    winners: dict[str, list[str]] = {}
    caveats: list[str] = []
    trusted: bool = True


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
    warmup: float
    window: float
    cpu_steps: int
    twisted_reactor: str | None = None
    virtual: bool | None = None
    governor: str | None = None
    gil: bool = True
    switch_interval: float | None = None
    stamp_seconds: float | None = None
    sleep_overshoot: Overshoot | None = None


class Design(msgspec.Struct, kw_only=True):
    """How the run was laid out, before anything was measured. `command` repeats it with the same seed.

    `dropped` are workloads, and the sweep, for which there was no time; `lacking` has for each other library the cells that it has nothing
    for; `state` is the store of workloads that need one.
    """

    command: str = ""
    rounds: int = 0
    seconds: float = 0.0
    concurrency: int = 64
    workers: int = 64
    loop: Loop = "closed"
    arrivals: str = "poisson"
    pinned: str = ""
    limit: str = ""
    state: str = ""
    margin: float = 0.05
    confidence: float = 0.95
    dropped: list[str] = []
    lacking: dict[str, list[str]] = {}
    explanations: dict[str, str] = {}


class Report(msgspec.Struct, kw_only=True):
    """A whole run. `skipped` are backends whose library is not installed, `failures` what could not be measured, and why. `twins` has one
    for each metric that is claimed anything of, and `twin` is the one of them that shows most noise."""

    schema: int = SCHEMA
    environment: Environment
    design: Design = msgspec.field(default_factory=Design)
    results: list[Result] = []
    peers: list[Result] = []
    ceilings: list[Ceiling] = []
    sweep: list[Point] = []
    searches: list[Search] = []
    twin: Twin | None = None
    twins: list[Twin] = []
    checks: list[Check] = []
    comparisons: list[Comparison] = []
    styles: list[StyleComparison] = []
    ways: list[WayComparison] = []
    laws: list[Law] = []
    predictions: list[Prediction] = []
    verdict: Verdict = Verdict()
    skipped: list[str] = []
    failures: list[str] = []
    complete: bool = False
    finished: str = ""

    def json(self) -> bytes:
        """As a file that a person can read too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
