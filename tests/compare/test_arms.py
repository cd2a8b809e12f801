"""Arms: backends with options of `ringback serve`, or of another installation, compared under names
of their own; arms that work all at
once; and what ends a run that a person has got wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from ringback.cli import main
from ringback.compare.asking import request_of
from ringback.compare.options import CompareOptions
from ringback.compare.options import seconds as read_seconds
from ringback.compare.report.listing import listing
from ringback.compare.results import Arm, Design
from ringback.compare.run import treatments
from ringback.compare.run.pair import ANYWHERE
from ringback.compare.run.rounds import Experiment
from ringback.compare.statistics.analysis import analyse
from ringback.compare.workloads.table import CORE, WORKLOADS
from ringback.errors import UsageError
from samples import STYLES, cell, installation, report


def test_arms_stand_alone_and_one_by_itself_beside_its_backend() -> None:
    two = request_of(
        CompareOptions(arm=["few=threading --workers 8", "many=threading --workers 64"], time=600)
    )
    assert two.backends == ("few", "many")
    assert two.arm("few") == Arm("few", "threading", ("--workers", "8"))
    one = request_of(CompareOptions(arm=["debug=--log-level debug"], time=600))
    assert one.backends == ("asyncio", "debug")
    assert one.arm("debug") == Arm("debug", "asyncio", ("--log-level", "debug"))
    beside = request_of(
        CompareOptions(backend=["threading"], arm=["quoted=asyncio --access 'a b'"], time=600)
    )
    assert beside.backends == ("threading", "quoted")
    assert beside.arm("quoted").options == ("--access", "a b")


@pytest.mark.parametrize(
    ("options", "processes"),
    [((), 1), (("--processes", "4"), 4), (("--processes=3", "--uvloop"), 3), (("--uvloop",), 1)],
)
def test_an_arm_knows_how_many_processes_its_server_has(
    options: tuple[str, ...], processes: int
) -> None:
    assert Arm("many", "asyncio", options).processes == processes


def test_servers_of_many_processes_get_many_connections_and_all_processors_that_they_need() -> None:
    alone = request_of(CompareOptions(arm=["a=asyncio", "b=asyncio --workers 8"], time=600))
    assert alone.connections == 1
    many = request_of(CompareOptions(arm=["a=asyncio", "b=asyncio --processes 64"], time=600))
    assert (many.connections, many.placement) == (8, ANYWHERE)


@pytest.mark.parametrize(
    ("arms", "why"),
    [
        (["asyncio"], "is not NAME=SETTINGS"),
        (["a.b=asyncio"], "is not NAME=SETTINGS"),
        (["=asyncio"], "is not NAME=SETTINGS"),
        (["a=asyncio", "a=gevent"], "the name a is taken"),
        (["gevent=asyncio"], "the name gevent is taken"),
        (["a=asyncio --access 'b"], "No closing quotation"),
    ],
)
def test_what_is_no_arm_is_refused(arms: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        request_of(CompareOptions(arm=arms, time=600))


def test_an_arm_of_no_backend_is_refused_with_those_there_are() -> None:
    with pytest.raises(typer.BadParameter, match="there is no 'nosuch': choose of asyncio"):
        request_of(CompareOptions(arm=["a=nosuch"], time=600))


def test_two_arms_are_measured_and_named_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringback.compare.statistics.analysis.FEWEST", 3)
    # Without the control it takes three quarters.
    monkeypatch.setattr(
        Experiment, "_with_control", lambda made: treatments.treatments(made._request)
    )
    file = tmp_path / "arms.json"
    words = ["compare", "--arm", "few=threading --workers 1", "--arm", "many=threading --workers 8"]
    more = [
        "--workload",
        "io",
        "--style",
        "fire-and-callback",
        "--rounds",
        "3",
        "--concurrency",
        "8",
    ]
    assert main([*words, *more, "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [each["name"] for each in found["arms"]] == ["few", "many"]
    assert {(each["arm"], each["backend"]) for each in found["results"]} == {
        ("few", "threading"),
        ("many", "threading"),
    }
    # One worker that waits 10 ms does 100 calls/s, eight of them 800.
    [claim] = found["claims"]
    assert (claim["arm"], claim["against"]) == ("many", "few")
    assert (claim["verdict"], claim["sure"]) == ("better", True)
    assert 4 < claim["ratio"] < 9


def test_backends_and_arms_are_measured_over_each_transport_at_both_ends() -> None:
    asked = request_of(
        CompareOptions(
            backend=["asyncio"], arm=["uv=asyncio --uvloop"], transport=["native", "libzmq"]
        )
    )
    assert asked.backends == ("asyncio-native", "asyncio-libzmq", "uv-native", "uv-libzmq")
    assert {asked.arm(name).transport for name in asked.backends} == {"native", "libzmq"}
    started = treatments.server(asked, treatments.Treatment("uv-native", "threading", ()), "")
    assert started.transport == "native"
    assert " ".join(started.words).endswith("--transport native --uvloop")
    alone = request_of(CompareOptions(backend=["gevent", "asyncio"], transport=["native"]))
    assert alone.backends == ("gevent", "asyncio")
    assert [alone.arm(name).transport for name in alone.backends] == ["native", "native"]
    with pytest.raises(typer.BadParameter, match="there is no 'pigeon': choose of native, libzmq"):
        request_of(CompareOptions(transport=["pigeon"]))


def test_two_transports_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    words = [
        "--backend",
        "threading",
        "--transport",
        "native",
        "--transport",
        "libzmq",
        "--workload",
        "lone",
    ]
    assert (
        main(["compare", *words, "--rounds", "1", "--concurrency", "2", "--json", str(file)]) == 0
    )
    found = json.loads(file.read_text())
    assert [arm["transport"] for arm in found["arms"]] == ["native", "libzmq"]
    assert {each["arm"] for each in found["results"]} == {"threading-native", "threading-libzmq"}
    assert all(each["calls"] and not each["errors"] for each in found["results"])


def test_an_arm_whose_server_does_not_start_ends_the_run_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [
        "compare",
        "--arm",
        "a=threading --no-such-option",
        "--arm",
        "b=threading",
        "--workload",
        "echo",
    ]
    assert main([*words, "--time", "60"]) == 1
    err = capsys.readouterr().err
    assert "a, threading client: its server ended with status 2" in err
    assert "there is no option" in err


def test_what_there_is_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--list"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == list(listing())
    for name in (*WORKLOADS, "asyncio", "pyzmq"):
        assert name in out


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5s", 1.5), ("15m", 900.0), ("2 h", 7200.0)]
)
def test_a_time_may_be_in_minutes_and_hours(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "0.9", "-5", "10d", "1e3", "5 minutes"])
def test_what_is_no_time_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="must be a second or more, such as 90, 15m or 2h"):
        read_seconds(text)


def test_the_command_takes_such_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--time", "1h2"]) == 2
    assert (
        "--time must be a second or more, such as 90, 15m or 2h, not '1h2'"
        in capsys.readouterr().err
    )
    assert main(["compare", "--quick", "--rounds", "900", "--time", "0.05h"]) == 2
    assert "180 s are too few: 900 rounds" in capsys.readouterr().err


# Another installation


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installation(tmp_path_factory.mktemp("other"))


def test_each_arm_is_there_once_more_served_by_another_installation(other: Path) -> None:
    alone = request_of(CompareOptions(against=str(other), time=600))
    assert alone.backends == ("asyncio", "asyncio-against")
    against = alone.arm("asyncio-against")
    assert against == Arm(
        "asyncio-against", "asyncio", python=str(other / "bin" / "python"), version="0.0.1"
    )
    named = CompareOptions(
        backend=["threading"], arm=["two=asyncio --workers 2"], against=str(other), time=600
    )
    request = request_of(named)
    assert request.backends == ("threading", "two", "threading-against", "two-against")
    assert request.arm("two-against").options == request.arm("two").options == ("--workers", "2")
    ours = [
        treatment for treatment in treatments.treatments(request) if treatment.client == "threading"
    ]
    _, own, _, again = (treatments.server(request, treatment, "") for treatment in ours)
    assert own.words == again.words
    assert (own.python, again.python) == ("", against.python)


def test_where_there_is_no_other_ringback_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"{tmp_path} is not a virtual environment: .*/bin/python does not exist"
    ):
        request_of(CompareOptions(against=str(tmp_path)))
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(UsageError, match=f"{tmp_path} cannot import ringback: ModuleNotFoundError"):
        request_of(CompareOptions(against=str(tmp_path)))


# All at once


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"workload": ["echo", "echo-rate", "overload"]}, "not for echo-rate, overload"),
        ({"rate": 500.0}, "supports closed loops only"),
        ({"backend": ["asyncio"]}, "needs at least two backends or arms"),
    ],
)
def test_a_duet_is_of_two_arms_in_closed_loops(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=f"--duet .*{why}"):
        request_of(CompareOptions(duet=True, time=600, **changes))


def test_a_duet_leaves_out_what_is_no_closed_loop_where_nothing_is_named() -> None:
    request = request_of(CompareOptions(duet=True, backend=["asyncio", "threading"], time=600))
    assert request.duet
    assert request.workloads == tuple(name for name in CORE if name != "echo-rate")


def test_of_a_duet_nothing_is_claimed_but_the_cpu_time_of_servers() -> None:
    cells = [
        each
        for style in STYLES
        for each in cell({"asyncio": 1000.0, "gevent": 2000.0}, "io", style)
    ]
    figures = {}
    for duet in (False, True):
        made = report(*cells, design=Design(duet=duet))
        analyse(made, [])
        figures[duet] = {claim.figure for claim in made.claims}
        assert len([claim for claim in made.claims if claim.of_arms]) == len(STYLES)
    assert figures == {False: {"throughput"}, True: {"server_cpu"}}


# Calls without a client


def test_calls_without_a_client_come_at_no_rate() -> None:
    with pytest.raises(UsageError, match="--rate: flood has no client"):
        request_of(CompareOptions(time=600, workload=["flood"], rate=500.0))


def test_what_calls_without_a_client_is_left_out_at_a_rate_where_nothing_is_named() -> None:
    assert "flood" in request_of(CompareOptions(time=600)).workloads
    assert "flood" not in request_of(CompareOptions(time=600, rate=500.0)).workloads
