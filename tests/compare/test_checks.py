"""What `--self-check` measures, measured: coordinated omission, the generator's ceiling, Little's
law; with RINGBACK_FULL all of it.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Callable

import pytest
from ringback.compare.load.plan import FIRE_AND_CALLBACK, OfferedLoad
from ringback.compare.load.sample import Sample
from ringback.compare.results import Check, Cpu, Memory
from ringback.compare.run.pair import Slice
from ringback.compare.statistics import checks
from ringback.compare.statistics.checks import SelfCheck


def test_an_open_loop_shows_a_stall_that_a_closed_one_hides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "_STALLED_SECONDS", 2.0)
    shown, hidden = (
        float(re.findall(r"p99 is ([\d.]+) ms", check.says)[0]) for check in SelfCheck()._stalls()
    )
    # Other programs make a stall of 500 ms longer, and never shorter.
    assert shown > 440
    assert hidden < shown / 2


@pytest.fixture(scope="module")
def measured() -> tuple[SelfCheck, Check]:
    """A check after some of its slices, and what it says of the limit in them."""
    itself = SelfCheck()
    ceiling = itself._ceiling()
    return itself, ceiling


def test_the_client_is_the_limit_before_a_server_that_does_nothing_and_the_server_where_it_computes(
    measured: tuple[SelfCheck, Check],
) -> None:
    """Only that: how busy either is depends on what else runs, and is asked of the whole check
    alone on its machine.
    """
    says = measured[1].says
    idle_server, busy_client, busy_server, idle_client = map(int, re.findall(r"(\d+)% ", says)[:4])
    assert idle_server < busy_client, says
    assert busy_server > idle_client, says


def before(
    server: float = 0.3,
    client: float = 0.9,
    calls: int = 100,
    whole: float | None = None,
    seconds: float = 1.0,
) -> Slice:
    """A slice in which each end was busy for such a part of the time."""
    cpu = Cpu(1e-5, 1e-5, server, client)
    load = OfferedLoad("echo", FIRE_AND_CALLBACK, 4, 0.0, 1.0)
    sample = Sample(
        opened=0.0,
        answered=calls,
        seconds=seconds,
        calls=calls,
        errors={},
        wrong=0,
        timed=[],
        whole=whole,
    )
    return Slice(load, sample, cpu, Memory())


def unmeasured(
    monkeypatch: pytest.MonkeyPatch, window: Callable[[OfferedLoad], Slice]
) -> SelfCheck:
    """One whose slices are made up, of the load."""
    itself = SelfCheck(1)
    monkeypatch.setattr(itself, "_pair", lambda _server: contextlib.nullcontext())
    monkeypatch.setattr(itself, "_window", lambda _, load: window(load))
    return itself


@pytest.mark.parametrize(
    ("server", "client", "ok"), [(0.2, 0.95, True), (0.95, 0.2, False), (0.97, 0.95, False)]
)
def test_the_check_of_the_ceiling_fails_where_the_server_is_the_limit(
    server: float, client: float, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    itself = unmeasured(
        monkeypatch,
        lambda load: before(1.0, 0.1) if load.workload == "cpu" else before(server, client),
    )
    assert itself._ceiling().ok is ok


def test_the_ceiling_is_the_median_of_what_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter(
        [before(calls=100, seconds=0.5), before(calls=300), before(calls=100, seconds=0.25)]
    )
    itself = unmeasured(
        monkeypatch, lambda load: before(1.0, 0.1) if load.workload == "cpu" else next(found)
    )
    assert itself._ceiling().says.endswith("the ceiling is 300 calls/s")


@pytest.mark.parametrize(
    ("same", "slowed", "ok"),
    [
        (1.0, 0.9, [True, True]),
        (1.0, 1.0, [True, False]),
        (1.0, 1.1, [True, False]),
        (0.9, 0.9, [False, True]),
        (1.1, 0.9, [False, True]),
    ],
)
def test_measured_checks_find_what_is_there_and_nothing_that_is_not(
    same: float, slowed: float, ok: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of services that differ by so much, on a machine that gets slower and slower."""
    chance, looks, started = random.Random(2), 0, 0
    factors = [1.0, same, slowed]

    def window(which: int) -> Slice:
        nonlocal looks
        looks += 1
        return before(
            calls=1000, seconds=(1 + looks / 100) / factors[which] * chance.lognormvariate(0, 0.01)
        )

    def fresh(_server: object) -> contextlib.AbstractContextManager[int]:
        nonlocal started
        started += 1
        return contextlib.nullcontext((started - 1) % 3)

    itself = SelfCheck(1)
    monkeypatch.setattr(itself, "_pair", fresh)
    monkeypatch.setattr(itself, "_window", lambda which, _load: window(which))
    found = list(itself._comparisons())
    assert [check.name for check in found] == [
        "no difference where there is none",
        "a slowdown of 10 %",
    ]
    assert [check.ok for check in found] == ok, [check.says for check in found]
    assert started == 3 * 8  # fresh servers in each round


def test_littles_law_closes_in_every_slice(measured: tuple[SelfCheck, Check]) -> None:
    itself = SelfCheck()
    itself.windows = [each for each in measured[0].windows if each.load.concurrency > 1]
    assert len(itself.windows) >= 5
    [check] = itself._little()
    assert check.ok, check.says
    assert None not in [each.sample.whole for each in itself.windows]


@pytest.mark.parametrize(
    ("whole", "ok"), [(0.995, True), (1.005, True), (0.98, False), (1.02, False)]
)
def test_littles_law_is_off_where_time_is_lost_in_any_slice(whole: float, ok: bool) -> None:
    itself = SelfCheck()
    itself.windows = [before(whole=1.0), before(whole=whole), before(whole=1.0), before()]
    [check] = itself._little()
    assert check.ok is ok
    assert check.says.startswith(
        f"holds in {4 if ok else 3} of 4 slices, off by at most {abs(whole - 1):.2%}"
    )


@pytest.mark.skipif(not os.environ.get("RINGBACK_FULL"), reason="a minute; RINGBACK_FULL=1")
@pytest.mark.timeout(300)
def test_the_whole_self_check_passes() -> None:
    failed = [check.says for check in checks.SelfCheck().run() if not check.ok]
    assert failed == []
