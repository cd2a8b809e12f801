"""Compares the CPU time of a call with that of another installation.

    python benchmarks/cost.py OTHER_PYTHON [--backend NAME]... [--pairs N] [--serve OPTIONS]
        [--service FILE]

OTHER_PYTHON is the interpreter of an environment with another ringback, such as the previous
commit. With `--serve`, this server gets these options of `ringback serve`, and OTHER_PYTHON may be
this interpreter: `--serve "--metrics 127.0.0.1:0"`.

A pair measures each installation once, in random order, with its own client and server; the figure
is the CPU time of both processes. A row gives the median ratio of this ringback to the other, with
its 95 % confidence interval (by order statistics).
"""

from __future__ import annotations

import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from running import BACKENDS, HERE, options_of

CALLS = {"fired": 100_000, "lone": 4_000}


def processor_time(pid: int | str) -> float:
    """CPU time of all threads of a process in seconds."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def measured(python: str, backend: str, kind: str, serve: Sequence[str], service: str) -> float:
    """CPU time of one call at both ends, in seconds."""
    command = [python, "-m", "ringback.server", f"{HERE / service}:service", "--backend", backend]
    options = ["--bind", "tcp://127.0.0.1:*", "--log-level", "error", *serve]
    server = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, cwd=HERE)
    try:
        assert server.stdout is not None
        endpoint = server.stdout.readline().split()[-2]
        client = [python, str(HERE / "cost.py"), "--client", kind, endpoint, str(server.pid)]
        done = subprocess.run(
            client, check=True, capture_output=True, text=True, cwd=HERE, timeout=300
        )
        return float(done.stdout)
    finally:
        server.terminate()
        server.wait()


def client(kind: str, endpoint: str, server: str) -> float:
    """The measurement, in its own process."""
    import ringback

    with ringback.connect(endpoint) as connected:

        def run(calls: int) -> None:
            if kind == "lone":
                for _ in range(calls):
                    connected.call("echo", b"x" * 32)
            else:
                left = [
                    connected.fire("echo", b"x" * 32, callback=lambda _: None) for _ in range(calls)
                ]
                left[-1].result()

        run(CALLS[kind] // 10)
        time.sleep(0.1)
        before = processor_time("self") + processor_time(server)
        run(CALLS[kind])
        return (processor_time("self") + processor_time(server) - before) / CALLS[kind]


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("other", metavar="OTHER_PYTHON")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--serve", type=shlex.split, default=[])
    parser.add_argument("--service", default="service.py")
    options = parser.parse_args()
    for backend in options.backend or BACKENDS:
        for kind in CALLS:
            ratios = []
            times = []
            for _ in range(options.pairs):
                pair = {}
                for arm in random.sample(["here", "other"], 2):
                    python, serve = (
                        (sys.executable, options.serve) if arm == "here" else (options.other, [])
                    )
                    service = options.service if arm == "here" else "service.py"
                    pair[arm] = measured(python, backend, kind, serve, service)
                ratios.append(pair["here"] / pair["other"])
                times.append(pair["here"])
            ratios.sort()
            rank = max(0, int((len(ratios) - 1.96 * len(ratios) ** 0.5) / 2))
            print(
                f"{backend:10} {kind:6} {statistics.median(times) * 1e6:8.2f} us   "
                f"{statistics.median(ratios):.3f}"
                f"   ({ratios[rank]:.3f} .. {ratios[-1 - rank]:.3f})",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        print(client(*sys.argv[2:]))
    else:
        main()
