"""`ringback top`: figures from two looks at a server, and what is shown of them."""

from __future__ import annotations

import io
from typing import Any

import pytest
import ringback
from processes import SOON
from rich.console import Console
from ringback.commands.top import MethodRow, between, percentile, table
from ringback.server.methods.statistics import SHORTEST, MethodStatistics, seconds_at


def look(seconds: float, **methods: dict[str, Any]) -> dict[str, Any]:
    return {
        "service": "shop",
        "backend": "asyncio",
        "process": 4711,
        "seconds": seconds,
        "clients": 2,
        "in_flight": 7,
        "waiting": {0: 5, 3: 1},
        "workers": {"workers": {"taken": 20, "total": 16}},
        "resources": {"db": {"taken": 3.5, "total": 4}},
        "limits": {"(all)": {"taken": 9, "limit": 10, "learned": True}},
        "methods": methods,
    }


def method(
    calls: int, *, in_flight: int = 0, errors: int = 0, refused: int = 0, times: list[int] | None = None
) -> dict[str, Any]:
    return {
        "calls": calls,
        "in_flight": in_flight,
        "errors": errors,
        "refused": refused,
        "times": times or [],
    }


def shown(before: dict[str, Any], after: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table(before, after))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_rates_are_those_between_the_two_looks() -> None:
    before = look(10.0, pay=method(100, times=[100]), stock=method(50), never=method(0))
    after = look(
        12.0,
        pay=method(160, in_flight=3, errors=4, refused=2, times=[100, 0, 60]),
        stock=method(250, times=[0, 200]),
        never=method(0),
    )
    stock, pay = between(before, after)
    assert stock == MethodRow("stock", 100.0, 0, 0.0, 0.0, seconds_at(1), seconds_at(1))
    assert pay == MethodRow("pay", 30.0, 3, 2.0, 1.0, seconds_at(2), seconds_at(2))


def test_what_is_taken_and_what_waits_is_shown() -> None:
    text = shown(look(1.0, pay=method(1)), look(2.0, pay=method(11)))
    for words in (
        "shop on asyncio, process 4711, up 0:00:02: 10 calls/s, 7 in flight, 2 clients",
        "workers: workers 16 of 16",
        "resources: db 3.5 of 4",
        "limits: (all) 9 of 10 (learned)",
        "waiting by priority: 3: 1, 0: 5",
    ):
        assert words in text


def cache(hits: int, stale: int, shared: int, misses: int) -> dict[str, int]:
    return {"hits": hits, "stale": stale, "shared": shared, "misses": misses}


def test_the_hit_rate_is_that_between_the_two_looks() -> None:
    before = look(1.0, price={**method(10), "cache": cache(10, 0, 0, 10)})
    after = look(2.0, price={**method(20), "cache": cache(14, 2, 1, 13)})
    assert between(before, after)[0].hit_rate == 0.7
    assert "hits %" in shown(before, after)


def test_where_no_method_has_a_cache_no_hit_rate_is_shown() -> None:
    assert "hits" not in shown(look(1.0, pay=method(1)), look(2.0, pay=method(11)))


@pytest.mark.parametrize("seconds", [2e-6, 1e-4, 0.0123, 0.5, 30.0])
def test_a_time_is_counted_within_an_eighth_of_an_octave(seconds: float) -> None:
    tally = MethodStatistics()
    tally.took(seconds)
    told = percentile(tally.times, 0.5)
    assert told is not None
    assert seconds / 2**0.126 <= told <= seconds * 2**0.126


def test_times_beyond_all_bounds_are_counted_at_the_ends() -> None:
    tally = MethodStatistics()
    for seconds in (0.0, SHORTEST, 1e9):
        tally.took(seconds)
    assert sum(tally.times) == 3
    assert tally.times[0] == 2


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile([], 0.5) is None
    assert percentile([0, 0], 0.99) is None


def test_it_looks_at_a_real_server(run_program) -> None:
    service = ringback.Service("looked_at")

    @service.method(inline=True)
    def echo(value: int) -> int:
        return value

    with (
        ringback.Server(service, "tcp://127.0.0.1:*", backend="threading") as server,
        ringback.connect(server.endpoint) as client,
    ):
        client.call("echo", 1)
        ran = run_program("-m", "ringback", "top", server.endpoint, "--interval", "0.1", within=SOON)
    assert ran.status == 0, ran
    assert ran.lines[0].startswith("looked_at on threading, process ")
    assert any(line.startswith("echo ") for line in ran.lines)


def test_without_a_server_it_says_so_in_one_line(run_program) -> None:
    ran = run_program("-m", "ringback", "top", "tcp://127.0.0.1:9", "--timeout", "0.3")
    assert ran.status == 1
    assert ran.err.startswith("ringback: UNAVAILABLE: ")
    assert ran.err.count("\n") == 1
