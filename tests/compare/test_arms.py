"""Arms: backends with options of `ringback serve`, compared under names of their own; and what ends a run that a person has got wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from ringback.cli import main
from ringback.compare.options import Options
from ringback.compare.report.listing import listing
from ringback.compare.run.lanes import Lanes
from ringback.compare.run.pair import ANYWHERE
from ringback.compare.run.request import Arm
from ringback.compare.workloads.table import WORKLOADS
from ringback.errors import UsageError


def test_arms_stand_alone_and_one_by_itself_beside_its_backend() -> None:
    two = Options(arms=["few=threading --workers 8", "many=threading --workers 64"], time=600).request()
    assert two.backends == ("few", "many")
    assert two.arm("few") == Arm("threading", ("--workers", "8"))
    one = Options(arms=["debug=--log-level debug"], time=600).request()
    assert one.backends == ("asyncio", "debug")
    assert one.arm("debug") == Arm("asyncio", ("--log-level", "debug"))
    beside = Options(backends=["threading"], arms=["quoted=asyncio --access 'a b'"], time=600).request()
    assert beside.backends == ("threading", "quoted")
    assert beside.arm("quoted").options == ("--access", "a b")


def test_the_server_of_an_arm_gets_its_options() -> None:
    request = Options(arms=["few=threading --workers 8"], time=600).request()
    started = {lane.backend: Lanes(request).server(lane) for lane in Lanes(request).round()}
    assert started["few"][-2:] == ("--workers", "8")
    assert started["few"][: started["few"].index("--bind")] == started["threading"][:4]


@pytest.mark.parametrize(
    ("options", "processes"),
    [((), 1), (("--processes", "4"), 4), (("--processes=3", "--uvloop"), 3), (("--uvloop",), 1)],
)
def test_an_arm_knows_how_many_processes_its_server_has(options: tuple[str, ...], processes: int) -> None:
    assert Arm("asyncio", options).processes == processes


def test_servers_of_many_processes_get_many_connections_and_all_processors_that_they_need() -> None:
    alone = Options(arms=["a=asyncio", "b=asyncio --workers 8"], time=600).request()
    assert alone.connections == 1
    many = Options(arms=["a=asyncio", "b=asyncio --processes 64"], time=600).request()
    assert (many.connections, many.placement) == (8, ANYWHERE)


@pytest.mark.parametrize(
    ("arms", "why"),
    [
        (["asyncio"], "is not NAME=SETTINGS"),
        (["a.b=asyncio"], "is not NAME=SETTINGS"),
        (["=asyncio"], "is not NAME=SETTINGS"),
        (["a=asyncio", "a=gevent"], "two arms a"),
        (["gevent=asyncio"], "two arms gevent"),
        (["a=asyncio --access 'b"], "No closing quotation"),
    ],
)
def test_what_is_no_arm_is_refused(arms: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Options(arms=arms, time=600).request()


def test_an_arm_of_no_backend_is_refused_with_those_there_are() -> None:
    with pytest.raises(typer.BadParameter, match="there is no 'nosuch': choose of asyncio"):
        Options(arms=["a=nosuch"], time=600).request()


def test_two_arms_are_measured_and_named_in_the_report(tmp_path: Path) -> None:
    file = tmp_path / "arms.json"
    words = ["compare", "--arm", "few=threading --workers 1", "--arm", "many=threading --workers 8"]
    more = ["--workload", "io", "--style", "fire-and-callback", "--rounds", "4", "--concurrency", "8"]
    assert main([*words, *more, "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [each["name"] for each in found["arms"]] == ["few", "many"]
    assert {(each["arm"], each["backend"]) for each in found["results"]} == {
        ("few", "threading"),
        ("many", "threading"),
    }
    [claim] = found["claims"]
    # One worker that waits 10 ms does 100 calls/s, eight of them 800.
    assert (claim["arm"], claim["against"], claim["verdict"], claim["sure"]) == (
        "many",
        "few",
        "better",
        True,
    )
    assert 4 < claim["ratio"] < 9


def test_an_arm_whose_server_does_not_start_ends_the_run_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--arm", "a=threading --no-such-option", "--arm", "b=threading", "--workload", "echo"]
    assert main([*words, "--time", "60"]) == 1
    err = capsys.readouterr().err
    assert "a, threading client: its server ended with status 2" in err
    assert "No such option" in err


def test_what_there_is_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--list"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == list(listing())
    for name in (*WORKLOADS, "--protect: none, lock", "asyncio", "pyzmq"):
        assert name in out
