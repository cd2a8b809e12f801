"""Errors and response times by balancing policy while a server is slow, dead, stopped or restarted.

    python benchmarks/many.py [--backend NAME]... [--condition NAME]... [--policy NAME]...
        [--servers N] [--rate N] [--seconds N] [--workers N] [--method read|write]
        [--no-ejection] [--hedge]

Each method waits for 5 ms; the slow server's wait for 50 ms. Under "sometimes" one server is slow
in one of ten calls, under "mixed" all servers are. Under "very-mixed" all wait for 0.5 s in one of
a hundred calls. A "report" is one call of 2 s. Calls arrive at random at a fixed rate, independent
of the servers. The response time counts from the intended start of a call, so the percentiles
include calls that wait behind a server that does not answer.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

from ringback import errors
from ringback.balancing.policies import POLICIES
from ringback.clients.asyncio import AsyncioClient, connect
from running import HERE, options_of

CONDITIONS = (
    "well",
    "mixed",
    "very-mixed",
    "report",
    "slow",
    "sometimes",
    "dead",
    "stopped",
    "restarting",
)
SHORT, LONG = 0.005, 0.05
# Seconds from the start to the event of the condition.
BEFORE = 1.0


class Server:
    """A server that waits in each call. It can be restarted at its endpoint."""

    def __init__(self, backend: str, workers: int, wait: float, part: float) -> None:
        self._words = [backend, str(workers)]
        self._wait, self._part = wait, part
        self.endpoint = "tcp://127.0.0.1:*"
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            str(HERE / "waiting.py"),
            str(self._wait),
            str(self._part),
            self.endpoint,
        ]
        self.process = subprocess.Popen([*command, *self._words], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.endpoint = self.process.stdout.readline().split()[-2]

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@dataclass
class Outcome:
    """`times` are the seconds of the answered calls; `by` counts these calls by server."""

    times: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    by: Counter[int] = field(default_factory=Counter)
    due: int = 0
    begun: int = 0  # calls started by the servers, including the warm-up

    def percentile(self, part: float) -> float:
        return sorted(self.times)[min(len(self.times) - 1, int(len(self.times) * part))]


async def drive(
    client: AsyncioClient, method: str, rate: float, seconds: float, seed: int
) -> Outcome:
    """Make calls at random times and collect their outcomes."""
    outcome, chance = Outcome(), random.Random(seed)
    begin = time.perf_counter() + 0.1
    due = begin
    calls = []

    def one(due: float) -> None:
        future = client.fire(method)

        def done(_: object) -> None:
            error = None if future.cancelled() else future.exception()
            if error is None:
                outcome.times.append(time.perf_counter() - due)
                outcome.by[future.result()] += 1
            else:
                started = (
                    f" started={error.started}" if isinstance(error, errors.Unavailable) else ""
                )
                outcome.failed[f"{type(error).__name__}{started}"] += 1

        future.add_done_callback(done)
        calls.append(future)

    while (due := due + chance.expovariate(rate)) < begin + seconds:
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        one(due)
    await asyncio.wait(calls)
    outcome.due = len(calls)
    return outcome


async def happen(condition: str, client: AsyncioClient, servers: list[Server]) -> None:
    await asyncio.sleep(BEFORE)
    if condition == "report":
        await client.call("report")
    elif condition == "dead":
        servers[0].process.kill()
    elif condition == "stopped":
        servers[0].process.send_signal(signal.SIGSTOP)
    elif condition == "restarting":
        for server in servers:
            server.process.terminate()
            await asyncio.to_thread(server.process.wait)
            await asyncio.to_thread(server.start)


async def measure(
    servers: list[Server],
    condition: str,
    options: dict[str, object],
    view: dict[str, object],
    given,
) -> Outcome:
    async with connect(*[server.endpoint for server in servers], **options) as client:
        for _ in range(20):
            await client.call(given.method)
        happening = asyncio.create_task(happen(condition, client, servers))
        outcome = await drive(
            client.options(**view), given.method, given.rate, given.seconds, given.seed
        )
        await happening
        if given.hedge:
            for answer in await client.call_all("ringback.stats"):
                if answer.error is None:
                    outcome.begun += answer.result["methods"][given.method]["calls"]
    return outcome


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--condition", action="append", choices=CONDITIONS)
    parser.add_argument("--policy", action="append", choices=tuple(POLICIES))
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=400.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--workers", type=int, default=32, help="workers of each server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--method",
        choices=("read", "write"),
        default="read",
        help="a readonly method, or one that must not be repeated",
    )
    parser.add_argument("--no-ejection", action="store_true")
    parser.add_argument("--hedge", action="store_true")
    given = parser.parse_args()
    for backend in given.backend or ("asyncio",):
        for condition in given.condition or CONDITIONS:
            for policy in given.policy or POLICIES:
                slow = {"slow": (LONG, 1.0), "sometimes": (LONG, 0.1)}.get(condition, (SHORT, 0.0))
                others = {"mixed": (LONG, 0.1), "very-mixed": (0.5, 0.01)}.get(
                    condition, (SHORT, 0.0)
                )
                kinds = [others if slow == (SHORT, 0.0) else slow, *[others] * (given.servers - 1)]
                with ExitStack() as stack:
                    servers = [Server(backend, given.workers, *kind) for kind in kinds]
                    for server in servers:
                        stack.callback(server.close)
                    options = {"policy": policy, "ejection": not given.no_ejection, "timeout": 10.0}
                    first = servers[0].process.pid
                    outcome = asyncio.run(
                        measure(servers, condition, options, {"hedge": given.hedge}, given)
                    )
                p50, p99, p999, longest = (
                    1000 * outcome.percentile(part) for part in (0.5, 0.99, 0.999, 1.0)
                )
                print(
                    f"{backend:9} {condition:10} {policy:15} {outcome.due:6,} calls, p50 "
                    f"{p50:5.1f} p99 {p99:7.1f} p99.9 {p999:7.1f} "
                    f"max {longest:7.1f} ms, {100 * outcome.by[first] / outcome.due:4.1f} % by "
                    f"the first, failed: "
                    + (f"(begun {outcome.begun:,}) " if given.hedge else "")
                    + (
                        ", ".join(f"{count} {name}" for name, count in outcome.failed.items())
                        or "none"
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
