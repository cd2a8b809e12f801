"""All four backends under all four client styles, half of them on either transport, for minutes:
nothing is wrong, and nothing grows.

`RINGBACK_SOAK` says for how many minutes: 3 where it is not set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import BACKENDS, ServerProcess

MINUTES = float(os.environ.get("RINGBACK_SOAK", "3"))
CHURN = Path(__file__).with_name("churn.py")
STYLES = ("threading", "gevent", "asyncio", "twisted")
TRANSPORTS = ("libzmq", "native")

# What may come and go: worker threads and connections of the moment, and what the allocator keeps.
FEW = 40
GROWTH = 24 * 1024 * 1024


def held(pid: int) -> dict[str, int]:
    process = Path(f"/proc/{pid}")
    return {
        "threads": len(list((process / "task").iterdir())),
        "descriptors": len(list((process / "fd").iterdir())),
        "bytes": int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
    }


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What grew by more than may come and go."""
    bounds = {"threads": FEW, "descriptors": FEW, "bytes": GROWTH}
    return {
        name: after[name] - before[name]
        for name in bounds
        if after[name] - before[name] > bounds[name]
    }


def result(pair: tuple[str, str], caller: subprocess.Popen[str]) -> dict:
    out, err = caller.communicate()
    assert (caller.returncode, err) == (0, ""), f"{pair}: {err[-3000:]}"
    return json.loads(out)


@pytest.mark.timeout(MINUTES * 60 + 120)
def test_hours_in_minutes(capsys):
    seconds = MINUTES * 60
    nice = ("nice",)  # all that the machine has, and what runs beside it goes on
    servers = {
        (backend, transport): ServerProcess(
            backend, "service", "--log-level", "error", "--transport", transport, inside=nice
        )
        for backend in BACKENDS
        for transport in TRANSPORTS
    }
    try:
        callers = {
            (style, *who): subprocess.Popen(
                [*nice, sys.executable, str(CHURN), style, str(seconds), server.endpoint],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", "RINGBACK_TRANSPORT": who[1]},
            )
            for who, server in servers.items()
            for style in STYLES
            if (STYLES.index(style) + BACKENDS.index(who[0]) + TRANSPORTS.index(who[1])) % 2
        }
        time.sleep(seconds / 3)
        warm = {who: held(server.process.pid) for who, server in servers.items()}
        told = {pair: result(pair, caller) for pair, caller in callers.items()}
        ends = {who: held(server.process.pid) for who, server in servers.items()}
        statuses = [server.stop() for server in servers.values()]
    finally:
        for server in servers.values():
            server.kill()
    with capsys.disabled():
        print()
        for who in servers:
            print(f"{' '.join(who):17} warm {warm[who]}  end {ends[who]}")
        rounds = sum(one["rounds"] for one in told.values())
        print(f"{rounds} rounds of 16 callers, {rounds * 252:,} calls")
    assert {pair: one["wrong"] for pair, one in told.items() if one["wrong"]} == {}
    assert {who: grown(warm[who], ends[who]) for who in servers} == {who: {} for who in servers}
    assert {pair: grown(one["warm"], one["end"]) for pair, one in told.items()} == {
        key: {} for key in told
    }
    assert statuses == [0] * len(servers)
