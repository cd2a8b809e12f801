"""`ringback tune` as a user starts it, with real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from ringback.cli import main
from ringback.tune.results import Tuning
from ringback.tune.settings import Settings

ROOT = Path(__file__).parent.parent.parent

APP = """
import sys, time
from ringback import Service

service = Service("app")

@service.method
def double(x: int) -> int:
    time.sleep(0.05)
    return 2 * x
"""

SCENARIO = """
from ringback.compare.scenario import call

def scenario(number):
    assert (yield call("double", number)) == 2 * number, "the double"
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service and its scenario in the working directory, and windows as short as can be."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "s.py").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ringback.tune.measure._FIRST", 0.1)
    monkeypatch.setattr("ringback.tune.measure._WARM", 0.1)
    monkeypatch.setattr("ringback.tune.measure._RESPONSES", 4)
    monkeypatch.setattr("ringback.tune.command._TRIAL_WINDOW", 0.1)
    monkeypatch.setattr("ringback.tune.command._ROUND_WINDOW", 0.2)
    monkeypatch.setattr("ringback.tune.command.FEWEST", 2)
    return tmp_path


def tune(*args: str) -> int:
    return main(["tune", "app.py:service", "--scenario", "s.py", "--concurrency", "16", *args])


def test_a_run_says_its_plan_tries_settings_and_finds_more_workers_where_the_defaults_are_too_few(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 callers of a handler that waits: the 32 workers of the defaults let half of them run."""
    args = ("--slo", "p99=5s", "--trials", "2", "--backend", "threading", "--max-processes", "1")
    status = tune(*args, "--concurrency", "64", "--seed", "5", "--json", "out.json")
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    found = msgspec.json.decode((app / "out.json").read_bytes(), type=Tuning, strict=True)
    assert found.complete
    defaults, more = Settings(backend="threading"), Settings(backend="threading", workers=64)
    assert [(trial.number, trial.settings) for trial in found.trials] == [(1, defaults), (2, more)]
    assert all(trial.held and trial.figures and trial.figures.calls > 0 for trial in found.trials)
    assert [each.settings for each in found.finalists] == [defaults, more]
    assert {len(each.rounds) for each in found.finalists} == {2}
    _, better = found.finalists
    assert better.ratio > 1.1
    assert better.interval is not None
    # It recommends what it has shown; other programs may have cost it that.
    assert (found.verdict.best == more) is found.verdict.shown
    assert found.verdict.command.startswith("ringback serve app.py:service --backend threading")
    assert found.verdict.command in out
    plan, trials = out.split("trial ")
    for word in (
        "seed 5",
        "--workers 1..256",
        "64 callers on 8 connections",
        "p99 <= 5000 ms",
        "2 trials",
    ):
        assert word in plan
    assert "(the defaults)" in trials
    assert "p99 <= 5000 ms was met in" in out
    assert found.command.startswith("ringback tune ")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("sys.exit('not with workers')", "not with workers"),
        (
            "double = service.method(name='double')(lambda x: 3 * x)",
            "wrong replies: AssertionError: the double",
        ),
    ],
    ids=["it does not start", "it answers wrong"],
)
def test_settings_that_do_not_work_are_failed_trials(
    fault: str, told: str, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = APP.replace("@service.method\n", "").replace("def double", "def right")
    text += (
        f"\nif '--workers' in sys.argv:\n    {fault}\nelse:\n    "
        f"service.method(name='double')(right)\n"
    )
    (app / "app.py").write_text(text)
    assert tune("--trials", "2", "--backend", "asyncio", "--max-processes", "1") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "failed" in out
    assert told in out
    assert "Traceback" not in out
    assert "  ringback serve app.py:service --backend asyncio\n" in out
    assert "of 2 trials none was better than the defaults" in out


def test_a_service_that_cannot_be_served_ends_the_run(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "app.py:nothing", "--scenario", "s.py", "--trials", "5"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(
        "ringback: the defaults fail, so there is nothing to compare with: its server ended"
    )
    assert "app.py has no 'nothing'" in err
    assert err.count("\n") == 1
    assert out.count("failed") == 1


def test_an_objective_that_nothing_keeps_is_status_1_and_the_nearest_is_named(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--slo", "p50=1ms", "--trials", "1", "--backend", "asyncio", "--max-processes", "1")
    assert tune(*args, "--json", "-") == 1
    out, err = capsys.readouterr()
    assert [trial.held for trial in msgspec.json.decode(out, type=Tuning).trials] == [False]
    *table, last = err.splitlines()
    assert "[not p50 <= 1 ms]" in "\n".join(table)
    assert last.startswith("ringback: no settings met p50 <= 1 ms; the closest had p50 ")


def test_ctrl_c_shows_and_writes_what_is_known(app: Path) -> None:
    words = ("tune", "app.py:service", "--scenario", "s.py", "--trials", "50", "--json", "out.json")
    running = subprocess.Popen(
        [sys.executable, "-m", "ringback", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        seen = ""
        while "(the defaults)" not in seen:
            line = running.stdout.readline()
            assert line
            seen += line
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
    assert (running.returncode, err) == (130, "")
    assert "interrupted: these are the results so far" in out
    assert "  ringback serve app.py:service --backend asyncio\n" in out
    found = json.loads((app / "out.json").read_text())
    assert not found["complete"]
    assert found["trials"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--slo", "fast"], "bad objective 'fast': use the form p99=20ms"),
        (["--backend", "nope"], "there is no 'nope': choose of asyncio"),
        (["--style", "nope"], "--style must be request-reply or fire-and-callback, not 'nope'"),
        (["--scenario", "nope.py"], "there is no file nope.py"),
        (["--json", "nowhere/f"], "--json: nowhere/f cannot be written"),
        (["--time", "5"], "--time"),
        (["--max-processes", "0"], "--max-processes"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(
    args: list[str], told: str, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in " ".join(err.split())
    assert not err.startswith("ringback: ") or err.count("\n") == 1


def test_a_scenario_is_required(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "app.py:service"]) == 2
    assert "--scenario" in capsys.readouterr().err


def test_without_its_extra_the_command_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("optuna", "scipy"):
        monkeypatch.setattr(
            "importlib.util.find_spec",
            lambda name, lacks=library: None if name == lacks else object(),
        )
        assert main(["tune", "app.py:service", "--scenario", "s.py"]) == 1
        assert capsys.readouterr().err == (
            f"ringback: ringback tune needs {library}: install it with pip install "
            f"'ringback[tune]'\n"
        )


def test_the_example_is_a_service_and_a_scenario_that_fit_and_can_be_served_by_two_processes() -> (
    None
):
    from ringback.tune.measure import measure
    from ringback.tune.options import TuneOptions
    from ringback.tune.request import request_of

    service, scenario = (ROOT / "examples" / name for name in ("orders.py", "orders_scenario.py"))
    request = request_of(TuneOptions(f"{service}:service", str(scenario), max_processes=2))
    assert measure(request, Settings(processes=2), 0.1).figures.throughput > 100
