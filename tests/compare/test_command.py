"""`ringback compare` and `ringback report` as a user starts them."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from rich.console import Console
from ringback import errors
from ringback.cli import main
from ringback.compare import command
from ringback.compare.asking import request_of, require
from ringback.compare.load.plan import STYLES
from ringback.compare.options import CompareOptions
from ringback.compare.report import progress
from ringback.compare.report.outputs import Outputs
from ringback.compare.report.verdict import verdict
from ringback.compare.results import Check, Report
from ringback.compare.run.observe import Speeds
from ringback.compare.run.treatments import lacking
from ringback.compare.statistics.checks import SelfCheck, self_check
from samples import cell, environment, report, result

# A real run that several tests look at takes its time in whichever comes first.
pytestmark = pytest.mark.timeout(120)

# Far above what a run of a few cells takes, also on a loaded machine.
DEADLINE = 60.0

# As little as a run can be.
LITTLE = ("--workload", "echo", "--concurrency", "4", "--rounds", "2", "--quick")


class Run(NamedTuple):
    """A real run as a user starts it, of two backends and another library; its files are in the
    folder.
    """

    done: subprocess.CompletedProcess[str]
    folder: Path
    report: Report


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("real")
    cells = ("--backend", "threading", "--backend", "asyncio", "--peer", "pyzmq", *LITTLE)
    done = subprocess.run(
        [sys.executable, "-m", "ringback", "compare", *cells, "--json", "f.json", "--csv", "g"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "FORCE_COLOR"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return Run(
        done,
        folder,
        msgspec.json.decode((folder / "f.json").read_bytes(), type=Report, strict=True),
    )


def test_a_run_measures_every_cell(real: Run) -> None:
    found = real.report
    assert found.schema == 2
    assert found.complete
    assert {(each.arm, each.client, each.style, each.workload) for each in found.results} == {
        (backend, "threading", style, "echo")
        for backend in ("threading", "asyncio")
        for style in STYLES
    }
    for each in found.results:
        assert each.calls > 0
        assert (each.errors, each.wrong, each.errors_by_code) == (0, 0, {})
        assert each.throughput == pytest.approx(each.calls / each.seconds)
        assert each.concurrency == each.workers == 4
        ranks = [getattr(each.latency, rank) for rank in ("p50", "p90", "p99", "p999", "max")]
        assert ranks == sorted(ranks)
        assert ranks[0] > 0
        assert len(each.rounds) == 2
        units = found.design.units[f"echo, {each.style}"]
        assert {made.slices for made in each.rounds} == {2 * units}
        assert each.server_cpu == each.cpu.server_per_call > 0
    assert {each.arm for each in found.peers} == {"pyzmq"}
    assert [(each.name, each.backend) for each in found.arms] == [
        ("threading", "threading"),
        ("asyncio", "asyncio"),
    ]
    assert [each.figure for each in found.twins] == ["server_cpu"]
    assert found.claims == []  # of two rounds
    assert "--seed" in found.design.command


def test_a_run_shows_its_table_and_writes_all_it_is_asked_for(real: Run) -> None:
    out = real.done.stdout
    assert "Fewer than 4 rounds support no claims" in out
    for word in (
        *("echo: ", *STYLES, "threading", "asyncio", "(pyzmq)"),
        *("4 calls in flight", "--workers 4", "2 rounds"),
    ):
        assert word in out
    assert "\x1b" not in out
    rows = list(csv.DictReader(io.StringIO((real.folder / "g").read_text())))
    assert len(rows) == 6
    assert float(rows[0]["throughput"]) == real.report.results[0].throughput
    assert [row["peer"] for row in rows] == ["False"] * 4 + ["True"] * 2


def test_a_run_is_shown_again_as_it_was_from_its_file_or_its_folder(
    real: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (real.folder / "f.json", real.folder):
        assert main(["report", str(name), "--html", str(tmp_path / "h")]) == 0
        assert capsys.readouterr().out == real.done.stdout
    page = (tmp_path / "h").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count('class="plot"') == 2  # calls/s and cost of echo
    assert main(["report", str(real.folder), str(real.folder / "f.json")]) == 0
    assert "1 and 1 runs support no claims" in capsys.readouterr().out


def test_no_line_in_a_pipe_ends_in_blanks_beyond_the_width_of_its_table(real: Run) -> None:
    lines = real.done.stdout.splitlines()
    widest = max(len(line.rstrip()) for line in lines if line.startswith("    "))
    assert widest < 100
    for line in lines:
        assert line == line.rstrip() or len(line) <= widest, line


OWN = (
    "--service app.py:service --scenario work.py --backend asyncio --rounds 1 --concurrency 4 "
    "--json -"
)
APP = """
from ringback import Service
service = Service('calc')
@service.method
def add(x: int, y: int) -> int:
    return x + y + {wrong}
"""
WORK = """
from ringback.compare.scenario import call
def scenario(number):
    total = yield call({method!r}, number % 1000, y=1)
    assert total == number % 1000 + 1, 'the sum'
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a scenario on a service, of which something may be spoilt, and returns the exit status."""

    def run(*, wrong: str = "0", method: str = "add") -> int:
        (tmp_path / "app.py").write_text(APP.format(wrong=wrong))
        (tmp_path / "work.py").write_text(WORK.format(method=method))
        return main(["compare", *OWN.split()])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # a scenario may import what is beside it
    monkeypatch.setitem(sys.modules, "work", None)
    return run


def test_a_scenario_of_ones_own_runs_on_ones_own_service(
    own: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert own() == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(each["workload"], each["style"]) for each in results] == [
        ("scenario", style) for style in STYLES
    ]
    assert all(each["calls"] > 0 and each["wrong"] == each["errors"] == 0 for each in results)


WRONG = (
    "wrong: AssertionError: the sum at work.py:5: assert total == number % 1000 + 1, 'the sum' "
    "with total = "
)
UNKNOWN = " UNIMPLEMENTED: nosuch: MethodNotFound: there is no method 'nosuch' at work.py:4: "


@pytest.mark.parametrize(
    ("spoilt", "told"), [({"wrong": "(x % 20 == 0)"}, WRONG), ({"method": "nosuch"}, UNKNOWN)]
)
def test_a_scenario_that_does_not_work_ends_with_the_calibration_and_is_told_where(
    spoilt: dict[str, str], told: str, own: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert own(**spoilt) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["results"], found["complete"]) == ([], False)
    [failure] = found["failures"]
    assert failure.startswith("asyncio, threading client, scenario: ")
    assert told in failure
    assert failure.endswith("(and 1 more)")  # the other call style
    assert f"ringback: {failure}\n" in err


def test_every_client_style_measures(capsys: pytest.CaptureFixture[str]) -> None:
    clients = [name for name in ("gevent", "asyncio", "twisted") if find_spec(name)]
    args = ["--backend", "asyncio", *LITTLE, "--rounds", "1", "--rate", "1000", "--json", "-"]
    assert main(["compare", *args, *(f"--client={name}" for name in clients)]) == 0
    out, err = capsys.readouterr()
    found = {(each["client"], each["style"]): each for each in json.loads(out)["results"]}
    assert found.keys() == {(client, style) for client in clients for style in STYLES}
    for each in found.values():
        assert (each["loop"], each["errors"], each["wrong"]) == ("open", 0, 0)
        assert each["calls"] > 0
    assert "calls/s" in err  # the table, since the JSON has standard output


def test_ctrl_c_keeps_what_was_measured_and_ends_with_130(tmp_path: Path) -> None:
    ours, terminal = pty.openpty()
    args = ["--backend", "threading", *LITTLE, "--rounds", "5", "--json", "f"]
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
        seen = read_until(ours, "round 2/5")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert process.returncode == 130
    assert "left" in seen
    assert "request-reply" in out
    found = msgspec.json.decode((tmp_path / "f").read_bytes(), type=Report)
    assert {each.style for each in found.results} == set(STYLES)
    assert found.results[0].rounds
    assert not found.complete


def read_until(terminal: int, text: str) -> str:
    seen = ""
    end = time.monotonic() + DEADLINE
    while text not in seen:
        readable, _, _ = select.select([terminal], [], [], end - time.monotonic())
        assert readable, seen
        try:
            seen += os.read(terminal, 4096).decode(errors="replace")
        except OSError:
            pytest.fail(f"it ended: {seen}")
    return seen


# What is refused


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("--backend nosuch", "there is no 'nosuch': choose of asyncio"),
        ("--client nosuch", "there is no 'nosuch': choose of threading"),
        ("--workload nosuch", "there is no 'nosuch': choose of lone, echo"),
        ("--style nosuch", "--style must be request-reply or fire-and-callback, not 'nosuch'"),
        ("--peer nosuch", "there is no 'nosuch': choose of pyzmq"),
        ("--concurrency 0", "--concurrency"),
        ("--rounds 0", "--rounds"),
        ("--rate fast", "--rate must be a number of calls per second, above 0"),
        (
            "--rate -1",
            "--rate must be a number of calls per second, above 0 and at most 10,000,000, not -1",
        ),
        ("--quick --thorough", "exclude each other"),
        ("--service app.py:service", "--service and --scenario go together"),
        ("--service a:b --scenario nosuch.py", "there is no file nosuch.py"),
        (
            "--style request-reply --workload flood",
            "none of the chosen workloads has calls in style request-reply",
        ),
        ("--fail-if p98>1ms", "--fail-if: bad condition"),
        ("--fail-if throughput<95%", "it needs an older run"),
        ("--fail-if nosuch.p99>1ms", "applies to nothing: no cell has nosuch"),
        ("--workload io --fail-if echo.p99>1ms", "applies to nothing: no cell has echo"),
        ("--json nowhere/f", "--json: nowhere/f cannot be written"),
        ("--html nowhere/f", "--html: nowhere/f cannot be written"),
        ("--json - --csv -", "only one of --json, --csv and --html"),
        ("--against nowhere", "--against: nowhere is not a virtual environment"),
        ("--duet --backend asyncio", "--duet needs at least two backends or arms"),
        ("--duet --workload echo-rate", "--duet supports closed loops only: not for echo-rate"),
        ("--time 5", "5 s are too few: 6 rounds of lone alone"),
        ("--self-check --quick", "--self-check does not take --quick"),
        ("--self-check --no-pin --seed 3", "--self-check does not take --pin"),
        ("--seed 9007199254740992", "--seed"),
        (
            "--peer pyzmq --workload stream",
            "--peer: pyzmq can run none of the chosen workloads and styles",
        ),
        ("--workload counter-prayer", "there is no 'counter-prayer': choose of lone, echo"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_the_run(
    args: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *args.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    # What typer refuses comes in a box of lines.
    assert told in " ".join(err.replace("│", " ").split())
    assert not err.startswith("ringback: ") or err.count("\n") == 1


def test_a_peer_that_is_not_installed_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ringback.compare.peers.rpyc", None)
    monkeypatch.setitem(sys.modules, "rpyc", None)
    monkeypatch.delitem(sys.modules, "ringback.compare.peers.rpyc")
    assert main(["compare", "--peer", "rpyc", "--rounds", "1"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "the peer rpyc needs rpyc: install it with pip install 'ringback[peers]'" in err


def test_other_libraries_do_not_serve_ones_own_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work.py").write_text(
        "from ringback.compare.scenario import call\ndef scenario(number):\n    yield call('add', "
        "number, 1)\n"
    )
    args = [
        "--service",
        "app.py:service",
        "--scenario",
        str(tmp_path / "work.py"),
        "--peer",
        "pyzmq",
    ]
    assert main(["compare", *args]) == 2
    assert "--peer works with ringback's workloads only" in capsys.readouterr().err


def test_what_another_library_has_nothing_for_is_said() -> None:
    request = request_of(CompareOptions(peer=["pyzmq"], workload=["echo", "stream"], rounds=1))
    assert lacking(request) == {"pyzmq": ["stream, request-reply"]}
    made = report(result("asyncio", "echo", STYLES[0], [5.0, 5.0]))
    made.design.lacking = lacking(request)
    assert "pyzmq does not support: stream, request-reply." in verdict(made).caveats


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


def test_without_its_extra_the_command_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "scipy" else object()
    )
    for args in (["compare"], ["report", "f"]):
        assert main(args) == 1
        assert capsys.readouterr().err == (
            "ringback: ringback compare needs scipy: install it with pip install "
            "'ringback[compare]'\n"
        )


# What comes out


class Fixed:
    """An experiment that measures nothing and finds what a test wants."""

    def __init__(self, *results: Any, **found: Any) -> None:
        self.results, self.found = results, found

    def __call__(self, request: Any, made: Report, watcher: Any) -> Fixed:
        self.request = request
        made.failures += self.found.get("failures", [])
        self.cells = {number: self.Cell(each) for number, each in enumerate(self.results)}
        self.controls: list[Any] = []
        self.speeds = Speeds()
        self.rounds = 8
        return self

    class Cell:
        def __init__(self, found: Any) -> None:
            self.rounds, self._found = found.rounds, found

        def result(self) -> Any:
            return self._found

    def run(self) -> None:
        if "ends" in self.found:
            raise self.found["ends"]


Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ran:
    """Runs what finds that, with these options: the exit status, and what is on standard output and
    standard error.
    """

    def run(fixed: Fixed, *args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(command, "Experiment", fixed)
        return main(["compare", *args]), *capsys.readouterr()

    monkeypatch.setattr(command, "steps_of_cpu", lambda: 1000)
    monkeypatch.setattr(command, "environment", environment)
    return run


def found(*speeds: float, **changes: Any) -> Fixed:
    return Fixed(result("asyncio", "io", STYLES[0], list(speeds or (5.0, 5.0)), **changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"wrong": 3, "why": "WrongReply"},
            "3 wrong replies from io, request-reply: asyncio: WrongReply",
        ),
        (
            {"calls": 0, "errors_by_code": {"UNAVAILABLE": 4}},
            "no call answered by io, request-reply: asyncio",
        ),
        ({"errors": 5, "errors_by_code": {"UNAVAILABLE": 5}}, ""),  # shown, and no failure
    ],
)
def test_what_makes_figures_worthless_is_one_line_and_exit_status_1(
    changes: dict[str, Any], told: str, run: Ran
) -> None:
    status, out, err = run(found(**changes))
    assert status == bool(told)
    assert "asyncio" in out
    assert err.startswith("ringback: " if told else "")
    assert told in err
    assert err.count("\n") == bool(told)


@pytest.mark.parametrize(
    ("condition", "status", "told"),
    [
        ("throughput<500", 0, ""),
        ("throughput<2000", 3, "condition met: throughput<2000 in io, request-reply: asyncio"),
        ("io.throughput<1000", 4, "undecided: io.throughput<1000 in io, request-reply: asyncio"),
        ("cpu.throughput<1000", 4, "undecided: cpu.throughput<1000, as no such cell was measured"),
    ],
)
def test_a_condition_sets_the_exit_status(condition: str, status: int, told: str, run: Ran) -> None:
    ended, _, err = run(found(990.0, 1000.0, 1010.0), "--fail-if", condition)
    assert ended == status
    assert told in err


def test_a_run_that_measured_nothing_says_so_and_leaves_older_files_alone(
    tmp_path: Path, run: Ran
) -> None:
    older = tmp_path / "f"
    older.write_text("a good run")
    status, _, err = run(Fixed(), "--json", str(older))
    assert (status, err) == (1, "ringback: nothing was measured, so no file was written\n")
    assert run(Fixed(ends=KeyboardInterrupt), "--json", str(older))[0] == 130  # in the calibration
    assert older.read_text() == "a good run"
    assert run(Fixed(failures=["gevent: it died"]), "--json", str(older))[0] == 1
    assert "it died" in older.read_text()


def test_a_file_that_cannot_be_written_costs_neither_the_table_nor_the_other_files(
    tmp_path: Path, run: Ran
) -> None:
    # Whatever is written there, the disk is full.
    status, out, err = run(found(), "--json", "/dev/full", "--csv", str(tmp_path / "g"))
    assert (status, err) == (
        1,
        "ringback: --json: /dev/full cannot be written: No space left on device\n",
    )
    assert "asyncio" in out
    assert (tmp_path / "g").read_text().startswith("backend,client")


def test_without_options_a_backend_whose_library_is_missing_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, run: Ran
) -> None:
    monkeypatch.setitem(sys.modules, "gevent", None)
    status, out, _ = run(fixed := found())
    assert status == 0
    assert "gevent" not in fixed.request.backends
    assert {"asyncio", "threading"} <= set(fixed.request.backends)
    assert "as the library is not installed: gevent" in out


@pytest.mark.parametrize("color", ["NO_COLOR", "FORCE_COLOR"])
def test_color_is_as_the_environment_asks(
    color: str, monkeypatch: pytest.MonkeyPatch, run: Ran
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(color, "1")
    status, out, err = run(found())
    assert (status, err) == (0, "")
    assert ("\x1b" in out) is (color == "FORCE_COLOR")


def test_the_time_left_is_what_was_planned_less_what_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    shown = progress.LiveProgress(Console(file=io.StringIO()))
    shown.planned(8, 60.0)
    now = 120.0
    shown.measured()
    assert shown.left == 40.0
    now = 200.0
    assert shown.left == 0.0


# Runs shown again


@pytest.fixture
def before_and_after(tmp_path: Path) -> tuple[str, str]:
    """Two folders, each with three runs."""
    for name, speed in (("before", 1000.0), ("after", 700.0)):
        (tmp_path / name).mkdir()
        for number in range(3):
            made = report(*cell({"asyncio": speed, "gevent": 500.0}, seed=number))
            (tmp_path / name / f"{number}.json").write_bytes(made.json())
    return str(tmp_path / "before"), str(tmp_path / "after")


def test_runs_are_shown_beside_older_ones(
    before_and_after: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *before_and_after, "--html", str(tmp_path / "h")]) == 0
    out = capsys.readouterr().out
    assert "after vs before" in out
    assert [line.split()[-1] for line in out.splitlines() if "asyncio  calls/s" in line] == [
        "worse"
    ]
    assert "support no claims" not in out
    assert 'id="changes"' in (tmp_path / "h").read_text()


@pytest.mark.parametrize(
    ("files", "condition", "status", "told"),
    [
        ("{0} {1}", "asyncio.throughput<90%", 3, "condition met: {} in io, request-reply: asyncio"),
        ("{0} {1}", "asyncio.p99>110%", 3, "condition met: {} in io, request-reply: asyncio"),
        ("{0} {1}", "gevent.throughput<50%", 0, ""),
        (
            "{0}/0.json {1}/0.json",
            "asyncio.throughput<90%",
            4,
            "undecided: {} in io, request-reply",
        ),
        ("{0}/0.json {1}", "gevent.throughput<50%", 4, "undecided: {} in io, request-reply"),
        ("{1}", "throughput<95%", 2, "condition '{}' is relative: it needs an older run"),
        (
            "{0} {1}",
            "twisted.throughput<95%",
            2,
            "condition '{}' applies to nothing: no cell has twisted",
        ),
    ],
)
def test_a_condition_may_be_a_percentage_of_older_runs(
    files: str,
    condition: str,
    status: int,
    told: str,
    before_and_after: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        main(["report", *files.format(*before_and_after).split(), "--fail-if", condition]) == status
    )
    out, err = capsys.readouterr()
    assert told.format(condition) in err
    assert bool(err) == bool(told)
    assert bool(out) == (status != 2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"no", "is not a report of ringback compare"),
        (b"{}", "is not a report of ringback compare"),
        (b"\xff", "is not a report of ringback compare"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(
    content: bytes | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f"
    if content is not None:
        file.write_bytes(content)
    assert main(["report", str(file)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err


def test_a_folder_without_runs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith(f"{tmp_path} has no .json files\n")


def test_runs_without_a_common_cell_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, workload in (("a", "io"), ("b", "cpu")):
        (tmp_path / name).write_bytes(report(*cell({"asyncio": 1.0}, workload)).json())
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "no cell in common" in capsys.readouterr().err


def test_the_published_schema_is_that_of_the_report() -> None:
    """But for how its texts are indented, which differs between versions of msgspec."""

    def unindented(text: str) -> Any:
        return json.loads(re.sub(r"\\n\s*", " ", text))

    published = (Path(__file__).parents[2] / "docs" / "compare.schema.json").read_text()
    assert unindented(published) == unindented(json.dumps(msgspec.json.schema(Report)))


# The check of itself


def test_a_self_check_that_fails_says_so_and_exits_with_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    checks = [Check("one", True, "fine"), Check("other", False, "off by 3")]
    monkeypatch.setattr(SelfCheck, "run", lambda _: iter(checks))
    assert self_check(Outputs(json=str(tmp_path / "f"))) == 4
    out, err = capsys.readouterr()
    assert out.splitlines() == ["ok   one: fine", "FAIL other: off by 3"]
    assert err == "ringback: comparisons on this machine cannot be trusted; failed: other\n"
    assert msgspec.json.decode((tmp_path / "f").read_bytes(), type=Report).checks == checks


def test_a_self_check_has_the_seed_that_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(SelfCheck, "run", lambda _: iter(()))
    assert main(["compare", "--self-check", "--seed", "42", "--json", str(tmp_path / "f")]) == 0
    assert msgspec.json.decode((tmp_path / "f").read_bytes(), type=Report).environment.seed == 42
