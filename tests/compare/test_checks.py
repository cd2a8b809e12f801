"""What `--self-check` measures, measured: coordinated omission, the generator's ceiling, Little's law; with RINGBACK_FULL all of it."""

from __future__ import annotations

import contextlib
import os
import re

import msgspec
import pytest
from ringback.compare.load.plan import FIRE_AND_CALLBACK, Load
from ringback.compare.load.sample import Sample
from ringback.compare.results import Cpu, Memory, Waiting
from ringback.compare.run.ceilings import Ceilings
from ringback.compare.run.observe import Observed
from ringback.compare.run.pair import Window
from ringback.compare.statistics import checks
from ringback.compare.statistics.checks import SelfCheck


def test_an_open_loop_shows_a_stall_that_a_closed_one_hides() -> None:
    for check in SelfCheck()._stalls():
        assert check.ok, check.says


def test_the_client_is_the_limit_before_a_server_that_does_nothing_and_the_server_where_it_computes() -> None:
    """Only that: how busy either is depends on what else runs, and is asked of the whole check alone on its machine."""
    says = SelfCheck()._ceiling().says
    idle_server, busy_client, busy_server, idle_client = map(int, re.findall(r"(\d+)% ", says)[:4])
    assert idle_server < busy_client, says
    assert busy_server > idle_client, says


def before(server: float, client: float, calls: int = 100, contaminated: str = "") -> Window:
    """A window in which each end was busy for such a part of the time."""
    seen = Observed(Cpu(1e-5, 1e-5, server, client), Waiting(), Memory(), "waiting", 0.0, 0.0, contaminated)
    load = Load("echo", FIRE_AND_CALLBACK, 4, 0.0, 1.0)
    return Window(load, 0.0, Sample(calls=calls, errors={}, wrong=0, timed=[]), seen)


@pytest.mark.parametrize(
    ("server", "client", "limit", "ceiling"),
    [
        (0.3, 0.95, "client", 200.0),
        (0.3, 0.6, "waiting", 200.0),
        (0.9, 0.95, "client", 200.0),
        (0.95, 0.9, "server", None),
        (0.95, 0.3, "server", None),
    ],
)
def test_a_server_that_does_nothing_but_is_the_limit_makes_no_ceiling(
    server: float, client: float, limit: str, ceiling: float | None
) -> None:
    ceilings = Ceilings()
    for calls in (100, 200, 300):
        ceilings.add("threading", before(server, client, calls))
    assert ceilings.of("threading", FIRE_AND_CALLBACK) == ceiling
    assert ceilings.of("threading", "request-reply") is None
    [made] = ceilings.all()
    assert (made.limit, made.throughput, made.rounds) == (limit, 200.0, [100.0, 200.0, 300.0])


def test_a_ceiling_is_that_of_windows_that_nothing_disturbed() -> None:
    ceilings = Ceilings()
    for calls, contaminated in ((100, "other programs"), (400, "other programs"), (50, "other programs")):
        ceilings.add("threading", before(0.3, 0.9, calls, contaminated))
    assert ceilings.of("threading", FIRE_AND_CALLBACK) == 400.0  # what disturbs can only lower it
    ceilings.add("threading", before(0.3, 0.9, 300))
    assert ceilings.of("threading", FIRE_AND_CALLBACK) == 300.0


@pytest.mark.parametrize(
    ("server", "client", "ok"), [(0.2, 0.95, True), (0.95, 0.2, False), (0.97, 0.95, False)]
)
def test_the_check_of_the_ceiling_fails_where_the_server_is_the_limit(
    server: float, client: float, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    itself = SelfCheck()
    monkeypatch.setattr(itself, "_pair", lambda _server: contextlib.nullcontext())
    monkeypatch.setattr(
        itself,
        "_window",
        lambda _, load: before(1.0, 0.1) if load.workload == "cpu" else before(server, client),
    )
    assert itself._ceiling().ok is ok


def test_littles_law_closes_in_every_window() -> None:
    itself = SelfCheck()
    itself._ceiling()
    itself._wait()
    assert len(itself.windows) >= 5
    for check in itself._little():
        assert check.ok, check.says
    # And would not, if time were lost.
    itself.windows[0] = itself.windows[0]._replace(
        sample=type(itself.windows[0].sample)(calls=1, errors={}, wrong=0, timed=[], whole=0.98)
    )
    [broken] = itself._little()
    assert not broken.ok


def test_a_window_that_was_disturbed_says_nothing_of_littles_law_in_it() -> None:
    itself = SelfCheck()
    good, off = before(0.3, 0.9), before(0.3, 0.9, contaminated="other programs")
    itself.windows = [
        good._replace(sample=msgspec.structs.replace(good.sample, whole=1.0, inside=1.0)),
        off._replace(sample=msgspec.structs.replace(off.sample, whole=1.0, inside=0.8)),
    ]
    [check] = itself._little()
    assert check.ok, check.says
    itself.windows[1] = itself.windows[1]._replace(observed=good.observed)
    [check] = itself._little()
    assert not check.ok


@pytest.mark.skipif(not os.environ.get("RINGBACK_FULL"), reason="a minute; RINGBACK_FULL=1")
@pytest.mark.timeout(300)
def test_the_whole_self_check_passes() -> None:
    failed = [check.says for check in checks.SelfCheck().run() if not check.ok]
    assert failed == []
