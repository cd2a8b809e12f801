"""`ringback top`: figures from two looks at servers, what is shown of them, and its keys on a real
terminal.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ringback
from processes import SOON, eventually
from rich.console import Console
from ringback.commands.top.figures import MethodRow, between, percentile, table
from ringback.commands.top.watching import Watched
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
    calls: int,
    *,
    in_flight: int = 0,
    errors: int = 0,
    refused: int = 0,
    times: list[int] | None = None,
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
    console.print(table([(before, after)]))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_rates_are_those_between_the_two_looks() -> None:
    before = look(10.0, pay=method(100, times=[100]), stock=method(50), never=method(0))
    after = look(
        12.0,
        pay=method(160, in_flight=3, errors=4, refused=2, times=[100, 0, 60]),
        stock=method(250, times=[0, 200]),
        never=method(0),
    )
    stock, pay = between([(before, after)])
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
    assert between([(before, after)])[0].hit_rate == 0.7
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
        ran = run_program(
            "-m", "ringback", "top", server.endpoint, "--interval", "0.1", within=SOON
        )
    assert ran.status == 0, ran
    assert ran.lines[0].startswith("looked_at on threading, process ")
    assert any(line.startswith("echo ") for line in ran.lines)


def test_without_a_server_it_says_so_in_one_line(run_program) -> None:
    ran = run_program("-m", "ringback", "top", "tcp://127.0.0.1:9", "--timeout", "0.3")
    assert ran.status == 1
    assert ran.err.startswith("ringback: UNAVAILABLE: ")
    assert ran.err.count("\n") == 1


def test_servers_are_added_up_and_sorted() -> None:
    first = (
        look(10.0, pay=method(100, times=[100]), stock=method(0)),
        look(
            12.0,
            pay=method(160, errors=6, times=[160]),
            stock=method(20, times=[0, 0, 0, 0, 0, 0, 0, 0, 20]),
        ),
    )
    other = (
        look(5.0, pay=method(0)),
        look(6.0, pay=method(10, in_flight=2, times=[10]), new=method(1, times=[1])),
    )
    assert [(row.method, row.rate, row.in_flight) for row in between([first, other])] == [
        ("pay", 40.0, 2),
        ("stock", 10.0, 0),
        ("new", 1.0, 0),
    ]
    assert between([first, other], "p99")[0].method == "stock"
    assert [row.method for row in between([first, other], "method")] == ["new", "pay", "stock"]
    assert between([first, other], "errors")[0].method == "pay"


def test_a_server_that_was_started_anew_with_the_same_number_is_a_new_one() -> None:
    watched = Watched()
    watched.looked({"tcp://a:1": look(100.0, pay=method(1000))})
    watched.looked({"tcp://a:1": look(0.0001, pay=method(10))})
    assert not watched.complete
    console = Console(file=io.StringIO(), width=120)
    console.print(watched.shown())
    assert "1 new: figures after the next poll" in console.file.getvalue()  # type: ignore[attr-defined]


class Terminal:
    """A real one, with a program in it."""

    def __init__(self, *words: str, columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, 24)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ringback", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""},
        )
        os.close(slave)
        self.text = ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        self.text = ""
        os.write(self._master, keys.encode())

    def shows(self, text: str) -> bool:
        """Whether it has shown that since the last key, after it has read what there is."""
        while select.select([self._master], [], [], 0)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the program has ended
                break
            self.text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode(errors="replace"))
        return text in self.text

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: str, **more: Any) -> Terminal:
        opened.append(Terminal(*words, **more))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.mark.parametrize("columns", [80, 120])
def test_keys_sort_pause_and_quit_and_a_server_that_is_gone_is_named(
    start_server: Any, terminal: Callable[..., Terminal], columns: int
) -> None:
    servers = [start_server("asyncio") for _ in range(2)]
    places = [server.endpoint for server in servers]
    with ringback.connect(*places, policy="round-robin") as client:
        for number in range(10):
            client.call("add", number, 1)
    shown = terminal("top", *places, "--interval", "0.2", columns=columns)
    eventually(lambda: shown.shows("add ") and shown.shows("q quit, s sort, p pause"))
    assert shown.text.count("tests on asyncio") >= 2  # a line for each
    shown.press("p")
    eventually(lambda: shown.shows("(paused)"))
    shown.press("p")
    eventually(lambda: shown.shows("(every 0.2 s)"))
    shown.resize(100, 30)
    shown.press("s")
    eventually(lambda: shown.shows("add "))
    servers[0].kill()
    eventually(lambda: shown.shows(f"{places[0]} failed: UNAVAILABLE"))
    servers[1].kill()
    shown.press("s")
    eventually(lambda: shown.shows("failed: UNAVAILABLE") and shown.shows(places[1]))
    shown.press("q")
    assert shown.process.wait(SOON) == 0


def test_the_terminal_is_as_it_was_behind_ctrl_c(
    start_server: Any, terminal: Callable[..., Terminal]
) -> None:
    shown = terminal("top", start_server("asyncio").endpoint, "--interval", "0.2")
    eventually(lambda: shown.shows("q quit"))
    before = termios.tcgetattr(shown._master)
    shown.process.send_signal(signal.SIGINT)
    assert shown.process.wait(SOON) == 130
    after = termios.tcgetattr(shown._master)
    assert not before[3] & termios.ICANON
    assert after[3] & termios.ICANON
    assert after[3] & termios.ECHO


def test_many_servers_are_printed_once_where_the_output_is_no_terminal(
    start_server: Any, run_program: Any
) -> None:
    places = [start_server("asyncio").endpoint for _ in range(2)]
    ran = run_program("-m", "ringback", "top", *places, "--interval", "0.1")
    assert ran.status == 0, ran
    assert sum(line.startswith("tests on asyncio, process ") for line in ran.lines) == 2
