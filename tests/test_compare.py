"""`ringback compare`: a small run of it as a user starts one, and its parts: what is right, what counts, what is said."""

from __future__ import annotations

import itertools
import json
import math
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.progress import Progress as RichProgress
from ringback import Server, Service, errors
from ringback.cli import main
from ringback.compare import command, statistics
from ringback.compare.caller import Batch, Caller, Firing, Window, call
from ringback.compare.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, STYLES, Cell, Plan
from ringback.compare.processes import Child, ChildFailed
from ringback.compare.progress import TimeLeft
from ringback.compare.results import Environment, Latency, Report, Result
from ringback.compare.run import Request, require, run
from ringback.compare.table import lines
from ringback.compare.workloads import WORKLOADS, cpu

# Far above what a run of a few cells takes, also on a loaded machine.
DEADLINE = 60.0

ALWAYS = Window(-math.inf, math.inf)


def compare(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ringback", "compare", *args],
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


# A run


def test_a_run_measures_every_cell_without_an_error(tmp_path: Path) -> None:
    args = [
        "--backend",
        "threading",
        "--backend",
        "asyncio",
        "--workload",
        "echo",
        "--concurrency",
        "8",
        "--quick",
        "--json",
        "f",
    ]
    done = compare(*args, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    report = msgspec.json.decode((tmp_path / "f").read_bytes(), type=Report, strict=True)
    assert report.schema == 1
    assert report.complete
    cells = {(result.backend, result.client, result.style, result.workload) for result in report.results}
    assert cells == {
        (backend, "threading", style, "echo") for backend in ("threading", "asyncio") for style in STYLES
    }
    for result in report.results:
        assert result.calls > 0
        assert (result.errors, result.wrong, result.errors_by_code) == (0, 0, {})
        assert result.throughput == pytest.approx(result.calls / result.seconds)
        assert result.concurrency == result.workers == 8
        ranks = [getattr(result.latency, rank) for rank in Latency.__struct_fields__]
        assert ranks == sorted(ranks)
        assert ranks[0] > 0
    assert "\x1b" not in done.stdout
    assert done.stdout.count("*") == 3  # the best of both groups, and what the mark means
    for word in ("echo: ", *STYLES, "threading", "asyncio", "8 calls in flight", "10 %", "--workers 8"):
        assert word in done.stdout


@pytest.mark.parametrize("client", ["gevent", "asyncio", "twisted"])
def test_every_client_style_makes_both_styles_of_calls(client: str, tmp_path: Path) -> None:
    pytest.importorskip(client)
    args = f"--client {client} --backend asyncio --workload cpu --concurrency 4 --quick --json -".split()
    done = compare(*args, cwd=tmp_path)
    assert done.returncode == 0, done
    results = json.loads(done.stdout)["results"]
    assert [(result["client"], result["style"]) for result in results] == [
        (client, style) for style in STYLES
    ]
    for result in results:
        assert result["calls"] > 0
        assert (result["errors"], result["wrong"]) == (0, 0)
    assert "calls/s" in done.stderr  # the table, since the JSON has standard output


def test_ctrl_c_keeps_what_was_measured_and_ends_with_130(tmp_path: Path) -> None:
    ours, terminal = pty.openpty()
    args = ["--backend", "threading", "--workload", "echo", "--concurrency", "4", "--json", "f"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ringback", "compare", *args],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    try:
        os.close(terminal)
        read_until(ours, "1/2")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert process.returncode == 130
    assert "request-reply" in out
    report = msgspec.json.decode((tmp_path / "f").read_bytes(), type=Report)
    assert [result.style for result in report.results] == [REQUEST_REPLY]
    assert not report.complete


def read_until(terminal: int, text: str) -> None:
    seen = ""
    end = time.monotonic() + DEADLINE
    while text not in seen:
        readable, _, _ = select.select([terminal], [], [], end - time.monotonic())
        assert readable, seen
        seen += os.read(terminal, 4096).decode()


# What is asked for


@pytest.mark.parametrize(
    ("option", "known"),
    [("--backend", "asyncio"), ("--client", "gevent"), ("--style", REQUEST_REPLY), ("--workload", "pooled")],
)
def test_a_bad_name_is_one_line_that_tells_the_good_ones(option: str, known: str, tmp_path: Path) -> None:
    done = compare(option, "nosuch", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "Traceback" not in done.stderr
    [line] = [
        line for line in done.stderr.splitlines() if line.startswith("Error: ")
    ]  # the rest is the usage
    for word in (option, "'nosuch'", known):
        assert word in line


def test_a_file_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    done = compare("--json", "nowhere/f", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ringback: --json: nowhere/f cannot be written\n"


@pytest.mark.parametrize("option", ["--backend", "--client"])
def test_a_library_that_is_missing_is_an_error_where_it_is_asked_for(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gevent", None)
    with pytest.raises(errors.UsageError, match=r"ringback\[gevent\]"):
        require("backend", "gevent")
    assert main(["compare", option, "gevent"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install 'ringback[gevent]'" in err


class Silent:
    def __init__(self) -> None:
        self.cells = 0

    def begin(self, what: str) -> None:
        pass

    def done(self, cells: int) -> None:
        self.cells += cells


def test_a_backend_that_does_not_start_is_told_with_its_last_words() -> None:
    report, watcher = empty_report(), Silent()
    run(Request(["nosuch"], ["threading"], list(STYLES), ["echo"], 1, True, 1), report, watcher)
    assert len(report.failures) == 1
    assert "nosuch failed to start" in report.failures[0]
    assert "there is no backend 'nosuch'" in report.failures[0]
    assert not report.complete
    assert watcher.cells == 2


def test_a_child_that_says_nothing_is_not_waited_for() -> None:
    with Child(
        "ringback.server", "ringback.compare.workloads:service", "--bind", "tcp://127.0.0.1:*"
    ) as child:
        assert child.line(DEADLINE).startswith("ringback: compare on ")
        with pytest.raises(ChildFailed, match="no answer"):
            child.line(0.01)


# What goes wrong


@pytest.mark.parametrize("style", STYLES)
def test_a_generator_counts_the_lies_of_a_real_server(style: str) -> None:
    service = Service("compare")
    told = itertools.count()

    @service.method(inline=True)
    def echo(value: bytes) -> bytes:
        return bytes(len(value)) if next(told) % 3 == 0 else value

    with Server(service, "tcp://127.0.0.1:*", backend="threading") as server:
        cell = Cell("echo", style, 4, 0.0, 0.3)
        plan = Plan("threading", 4, "threading", server.endpoint, [cell], 1, 10.0)
        with Child("ringback.compare.generate", given=msgspec.json.encode(plan)) as generator:
            measured = msgspec.json.decode(generator.line(DEADLINE), type=Result)
    assert measured.calls > 0
    assert measured.errors == 0
    assert measured.wrong == pytest.approx((measured.calls + measured.wrong) / 3, abs=4)


def test_a_server_that_dies_under_load_is_told_and_its_other_cells_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = empty_report()

    class Killer(Silent):
        def done(self, cells: int) -> None:
            super().done(cells)
            if self.cells == 1:
                os.kill(servers[0].pid, signal.SIGKILL)
                servers[
                    0
                ].wait()  # so that its end is seen after the first cell or, at the latest, the second

    servers: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def started(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        process = popen(*args, **kwargs)
        servers.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", started)
    watcher = Killer()
    clients = ["threading", "asyncio"]
    run(Request(["threading"], clients, list(STYLES), ["echo", "io"], 2, True, 1), report, watcher)
    [failure] = report.failures
    assert "the server on threading ended by signal 9" in failure
    assert len(report.results) == 1
    assert watcher.cells == 8
    assert not report.complete


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        ({"wrong": 3}, "3 wrong replies from asyncio in echo request-reply (threading client)"),
        (
            {"calls": 0, "errors_by_code": {"UNAVAILABLE": 4}},
            "no call answered by asyncio in echo request-reply",
        ),
    ],
)
def test_what_makes_figures_worthless_is_one_line_and_exit_status_1(
    measured: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_request: Request, report: Report, _watcher: Any) -> None:
        report.results.append(result("asyncio", 1000.0, **measured))

    monkeypatch.setattr(command, "run", measure)
    assert main(["compare"]) == 1
    out, err = capsys.readouterr()
    assert "asyncio" in out
    assert err.startswith("ringback: ")
    assert told in err
    assert err.count("\n") == 1


def test_errors_alone_are_shown_but_are_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_request: Request, report: Report, _watcher: Any) -> None:
        report.results.append(result("asyncio", 1000.0, errors=5, errors_by_code={"UNAVAILABLE": 5}))

    monkeypatch.setattr(command, "run", measure)
    assert main(["compare"]) == 0
    assert capsys.readouterr().err == ""


def test_without_options_a_backend_whose_library_is_missing_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Request] = []

    def measure(request: Request, report: Report, _watcher: Any) -> None:
        asked.append(request)
        report.results.append(result("asyncio", 1000.0))

    monkeypatch.setitem(sys.modules, "gevent", None)
    monkeypatch.setattr(command, "run", measure)
    assert main(["compare"]) == 0
    assert "gevent" not in asked[0].backends
    assert {"asyncio", "threading"} <= set(asked[0].backends)
    assert "for want of the library: gevent" in capsys.readouterr().out


@pytest.mark.parametrize("color", ["NO_COLOR", "FORCE_COLOR"])
def test_color_is_as_the_environment_asks_and_progress_is_for_terminals_only(
    color: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_request: Request, report: Report, watcher: Any) -> None:
        watcher.begin("asyncio")
        report.results.append(result("asyncio", 1000.0))
        watcher.done(1)

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(color, "1")
    monkeypatch.setattr(command, "run", measure)
    assert main(["compare"]) == 0
    out, err = capsys.readouterr()
    assert ("\x1b" in out) is (color == "FORCE_COLOR")
    assert err == ""


def test_the_time_left_never_grows_while_a_cell_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    column = TimeLeft(1.0)
    progress = RichProgress(column, disable=True)
    progress.add_task("", total=4)
    [task] = progress.tasks
    seen = []
    for seconds, completed in [(0, 0), (0.9, 0), (2.0, 1), (2.5, 1), (3.9, 1), (4.0, 2), (9.0, 2)]:
        now = 100.0 + seconds
        progress.update(task.id, completed=completed)
        seen.append(column.render(task).plain)
    assert seen == [f"0:0{left} left" for left in (4, 3, 6, 6, 4, 4, 0)]


def test_only_the_first_cell_of_a_generator_warms_up_for_longer() -> None:
    request = Request(["asyncio"], ["threading"], list(STYLES), ["echo", "io"], 2, True, 1)
    first, *others = (cell.warmup for cell in request.cells)
    assert first > others[0]
    assert set(others) == {request.seconds[0]}


# What is right


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_no_two_calls_have_the_same_arguments_or_answer(workload: Any) -> None:
    arguments = [workload.arguments(number, 10) for number in range(1000)]
    assert len(set(arguments)) == 1000
    assert len({workload.answer(*each) for each in arguments}) == 1000


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 1000, 4097])
def test_the_answer_of_cpu_is_known_without_its_work(steps: int) -> None:
    for start in (0, 1, 12345, 2**31 - 1):
        assert WORKLOADS["cpu"].answer(start, steps) == cpu(start, steps)


class Upstairs:
    """A client whose server is a function; it closes after so many calls by failing to make another."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.answer = answer

    def call(self, method: str, *args: Any) -> Any:
        return self.answer(*args)


class Enough(BaseException):
    pass


def answers(*given: Any) -> Callable[..., Any]:
    """A function that gives these in turn: `Ellipsis` is the right answer, an exception is raised."""
    left = iter(given)

    def answer(*args: Any) -> Any:
        for one in left:
            if isinstance(one, Exception):
                raise one
            return args[0] if one is ... else one
        raise Enough

    return answer


def test_a_wrong_reply_is_counted_and_is_no_call() -> None:
    caller = Caller(WORKLOADS["echo"], 1, 0, 1, ALWAYS)
    wrong = (bytes(32), b"", None, "text", WORKLOADS["echo"].arguments(99, 1)[0])
    with pytest.raises(Enough):
        call(Upstairs(answers(..., *wrong, ...)), caller)
    assert (len(caller.samples), caller.wrong, caller.errors) == (2, 5, {})


def test_replies_that_reach_each_others_callers_are_wrong() -> None:
    one, other = (Caller(WORKLOADS["cpu"], 100, number, 2, ALWAYS) for number in range(2))
    first, second = one.begin(), other.begin()
    assert first is not None
    assert second is not None
    one.reply(cpu(*second))
    other.reply(cpu(*first))
    assert [(caller.wrong, caller.samples) for caller in (one, other)] == [(1, []), (1, [])]


def test_errors_are_counted_by_their_code() -> None:
    caller = Caller(WORKLOADS["echo"], 1, 0, 1, ALWAYS)
    failures = (errors.DeadlineExceeded(), errors.Unavailable(), errors.DeadlineExceeded(), ValueError())
    with pytest.raises(Enough):
        call(Upstairs(answers(*failures, ...)), caller)
    assert caller.errors == {"DEADLINE_EXCEEDED": 2, "UNAVAILABLE": 1, "ValueError": 1}
    assert (len(caller.samples), caller.wrong) == (1, 0)


def test_replies_outside_the_window_are_checked_but_not_counted() -> None:
    caller = Caller(WORKLOADS["echo"], 1, 0, 1, Window(math.inf, math.inf))
    with pytest.raises(Enough):
        call(Upstairs(answers(..., b"wrong", ...)), caller)
    assert (caller.samples, caller.wrong) == ([], 1)


def test_each_callback_fires_the_next_call_until_the_window_closes() -> None:
    fired: list[tuple[Any, ...]] = []

    class Client:
        def fire(self, method: str, *args: Any, callback: Any, errback: Any) -> None:
            fired.append((args, callback, errback))

    over: list[bool] = []
    caller = Caller(WORKLOADS["echo"], 1, 0, 1, ALWAYS)
    Firing(Client(), caller, lambda: over.append(True)).fire()
    fired[0][1](fired[0][0][0])
    fired[1][2](errors.Unavailable())
    fired[2][1](b"wrong")
    assert len(fired) == 4
    assert (len(caller.samples), caller.wrong, caller.errors) == (1, 1, {"UNAVAILABLE": 1})
    assert not over
    late = Caller(WORKLOADS["echo"], 1, 0, 1, Window(-math.inf, -math.inf))
    Firing(Client(), late, lambda: over.append(True)).fire()
    assert over == [True]
    assert len(fired) == 4


def test_callers_that_never_end_are_an_error() -> None:
    cell = Cell("echo", FIRE_AND_CALLBACK, 3, 0.1, 0.1)
    batch = Batch(Plan("asyncio", 3, "threading", "tcp://127.0.0.1:1", [cell], 1, 1.0), cell)
    batch.check(3)
    with pytest.raises(RuntimeError, match="1 of 3 callers"):
        batch.check(2)


# What is said


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([7.0], (7, 7, 7, 7, 7)),
        ([2.0, 1.0], (1, 2, 2, 2, 2)),
        ([float(n) for n in range(1, 11)], (5, 9, 10, 10, 10)),
        ([float(n) for n in range(100, 0, -1)], (50, 90, 99, 100, 100)),
        ([float(n) for n in range(1, 1001)], (500, 900, 990, 999, 1000)),
        ([float(n) for n in range(1, 1002)], (501, 901, 991, 1000, 1001)),
    ],
    ids=lambda value: f"{len(value)} samples" if isinstance(value, list) else "",
)
def test_percentiles_are_samples_at_their_rank(samples: list[float], expected: tuple[float, ...]) -> None:
    assert msgspec.structs.astuple(statistics.latency(samples)) == expected


def test_without_samples_there_are_no_percentiles() -> None:
    assert msgspec.structs.astuple(statistics.latency([])) == (None,) * 5


def empty_report() -> Report:
    return Report(
        environment=Environment(
            ringback="1",
            python="3.11.0",
            implementation="CPython",
            platform="Linux",
            kernel="6",
            cpus=2,
            cpu_model="a CPU",
            packages={},
            seed=1,
            started="2025-01-01T00:00:00+00:00",
            load_before=[0.5, 0.5, 0.5],
            quick=True,
            warmup=0.1,
            window=0.6,
            cpu_steps=1000,
        )
    )


def result(backend: str, throughput: float, **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "client": "threading",
        "style": REQUEST_REPLY,
        "workload": "echo",
        "concurrency": 64,
        "latency": Latency(0.001, 0.002, 0.003, 0.004, 0.005),
        "errors": 0,
        "calls": int(throughput),
        "errors_by_code": {},
        "wrong": 0,
        "workers": 64,
        "seconds": 1.0,
    }
    return Result(backend=backend, throughput=throughput, **{**fields, **changes})


def test_the_table_marks_the_best_of_each_group_that_made_no_mistake() -> None:
    report = empty_report()
    report.results = [
        result("twisted", 1000.0),
        result("asyncio", 2000.0, wrong=3),
        result("gevent", 500.0, workload="io", errors=7),
        result("asyncio", 0.0, workload="io", latency=Latency()),
    ]
    rows = [line.text.split() for line in lines(report, 64) if line.text.startswith("    ")]
    assert rows == [
        ["asyncio", "2,000", "1.00", "3.00", "0", "3"],
        ["twisted", "1,000", "*", "1.00", "3.00", "0", "0"],
        ["asyncio", "0", "-", "-", "0", "0"],
        ["gevent", "500", "1.00", "3.00", "7", "0"],
    ]


@pytest.mark.parametrize(("load", "told"), [([0.2, 3.0, 3.0], False), ([1.9, 0.0, 0.0], True), (None, False)])
def test_a_machine_that_was_busy_before_is_told(load: list[float] | None, told: bool) -> None:
    report = empty_report()
    report.environment.load_before = load
    report.results = [result("asyncio", 1000.0)]
    assert any("before the run began" in line.text for line in lines(report, 64)) is told


def test_the_table_names_what_was_not_measured() -> None:
    report = empty_report()
    report.skipped = ["gevent"]
    text = "\n".join(line.text for line in lines(report, 64))
    assert "Nothing was measured." in text
    assert "for want of the library: gevent" in text
