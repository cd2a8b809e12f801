"""Runs beside older ones: what changed, what is not alike, and what cannot be compared."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from ringback.compare.report.difference import RUNS, Difference, ReportChanges, changes
from ringback.compare.report.reading import runs
from ringback.compare.report.table import changed
from ringback.compare.results import Cpu, Rate, Report, Result, Verdict
from ringback.errors import UsageError
from samples import STYLES, cell, environment, printed, report, result
from scipy import stats


def one(speed: float = 1000.0, workload: str = "io", style: str = STYLES[0], **how: Any) -> Result:
    return result("asyncio", workload, style, [speed * each for each in (0.99, 1.0, 1.01)], **how)


def found(before: Result | Report, after: Result | Report) -> ReportChanges:
    """From one run to another: enough to see what is compared, and too little to claim anything."""
    return changes(
        *([report(each) if isinstance(each, Result) else each] for each in (before, after))
    )


def figures(made: ReportChanges) -> set[str]:
    return {each.figure for each in made.differences}


def why(made: ReportChanges) -> set[str]:
    return {each.why for each in made.not_compared}


def several(many: int = RUNS, seed: int = 1, **speeds: float) -> list[Report]:
    return [report(*cell(speeds, seed=seed + number)) for number in range(many)]


# What runs prove


@pytest.mark.parametrize(("speed", "outcome"), [(800.0, "worse"), (1250.0, "better")])
def test_a_change_is_found_in_the_cells_that_all_runs_have(speed: float, outcome: str) -> None:
    before = several(asyncio=1000.0, gevent=800.0)
    after = several(seed=9, asyncio=speed, twisted=1.0)
    made = changes(before, after)
    assert figures(made) == {"throughput", "p99", "server_cpu"}
    for each in made.differences:
        # Of p99, a difference is claimed from a factor of two on.
        assert (each.arm, each.outcome) == (
            "asyncio",
            "unclear" if each.figure == "p99" else outcome,
        )
        # Above 1 is better, whatever the figure.
        assert each.ratio == pytest.approx(speed / 1000, rel=0.05)
        assert each.interval is not None
        assert each.interval[0] < each.ratio < each.interval[1]
    [calls] = [each for each in made.differences if each.figure == "throughput"]
    assert calls.after / calls.before == pytest.approx(calls.ratio)
    [p99] = [each for each in made.differences if each.figure == "p99"]
    assert p99.before / p99.after == pytest.approx(p99.ratio)
    assert made.remarks == [
        (
            "Only in some of the runs, or with a different load: io, request-reply: gevent; io, "
            "request-reply: twisted."
        )
    ]
    assert not changes(before, before).remarks


@pytest.mark.parametrize(("before", "after"), [(1, 1), (RUNS - 1, RUNS), (RUNS, RUNS - 1)])
def test_too_few_runs_claim_nothing_however_far_they_differ(before: int, after: int) -> None:
    made = changes(several(before, asyncio=1000.0), several(after, asyncio=1.0))
    assert {(each.interval, each.outcome) for each in made.differences} == {(None, "unclear")}
    assert {round(each.ratio, 3) for each in made.differences} == {0.001}
    [remark] = made.remarks
    assert remark.startswith(
        f"{before} and {after} runs support no claims: the variance between runs"
    )
    assert "folders with at least 3 runs of each" in remark
    assert "--against VENV" in remark
    rows = [line for line in printed(changed(made)).splitlines() if line.startswith("io, ")]
    assert [row.split()[-1] for row in rows] == ["0.00"] * 3  # neither an interval nor a word


def run(logs: Sequence[float]) -> Report:
    """A run of one figure alone, its calls/s, of which these are the logarithms by round."""
    cell = one()
    cell.rounds = [
        replace(cell.rounds[0], round=number, throughput=math.exp(log), p99=None, cpu=Cpu())
        for number, log in enumerate(logs, 1)
    ]
    return report(cell)


def test_the_run_is_the_unit_by_hand() -> None:
    # Means of runs 0.0, 0.1, 0.2 and 1.0, 1.1, 1.2, 1.3: variances of the means 0.01 / 3 and 0.05 /
    # 3 / 4, so an error of 0.0866, and
    # 4.96 degrees of freedom; however many rounds there are, and however far they lie apart.
    before = [run([log - far, log, log + far]) for log, far in ((0.0, 0.5), (0.1, 0.0), (0.2, 1.0))]
    after = [run([log, log]) for log in (1.0, 1.1, 1.2, 1.3)]
    [found] = changes(before, after).differences
    was, now = 0.01 / 3, 0.05 / 3 / 4
    freedom = (was + now) ** 2 / (was**2 / 2 + now**2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(was + now)
    assert found.ratio == pytest.approx(math.exp(1.05))
    assert found.interval == pytest.approx((math.exp(1.05 - half), math.exp(1.05 + half)))


def simulated(
    chance: np.random.Generator, runs: int, change: float = 0.0
) -> tuple[Difference, float]:
    """What is said of runs that each have an effect of their own, of 5 %, where rounds scatter by 2
    %; and the p-value by which rounds of
    all runs, pooled, would differ."""
    logs = [
        effect + chance.normal(0, 0.05, (runs, 1)) + chance.normal(0, 0.02, (runs, 8))
        for effect in (0.0, change)
    ]
    [found] = changes(*([run(each) for each in side.tolist()] for side in logs)).differences
    return found, float(stats.ttest_ind(logs[0].ravel(), logs[1].ravel()).pvalue)


@pytest.mark.parametrize("runs", [3, 5])
def test_equal_runs_with_effects_of_their_own_are_called_different_no_more_than_once_in_twenty(
    runs: int,
) -> None:
    chance, many = np.random.default_rng(runs), 200
    found = [simulated(chance, runs) for _ in range(many)]
    # Were it 5 %, there would be more than that once in 1,000 times.
    assert sum(each.outcome in ("better", "worse") for each, _ in found) / many <= 0.1
    # As rounds were pooled before, which do not know of runs.
    assert sum(pooled < 0.05 for _, pooled in found) / many > 0.35


def test_a_change_far_beyond_the_effects_of_runs_is_found() -> None:
    chance = np.random.default_rng(1)
    assert {simulated(chance, 4, change)[0].outcome for change in [0.3] * 20} == {"better"}


def test_runs_that_are_the_same_are_equal_and_warn_of_nothing() -> None:
    same = several(1, asyncio=1000.0) * RUNS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = changes(same, same)
        twice = changes(same, several(1, asyncio=2000.0) * RUNS)
    assert {each.outcome for each in made.differences} == {"equal"}
    assert {each.outcome for each in twice.differences} == {"better"}


# What is compared


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 4},
        {"loop": "open"},
        {"concurrency": 8},
        {"client": "gevent"},
        {"arm": "asyncio-limited"},
    ],
)
def test_cells_of_another_layout_are_other_cells(changes: dict[str, Any]) -> None:
    made = found(one(), one(**changes))
    assert (list(made.differences), list(made.not_compared)) == ([], [])


def test_calls_of_a_limited_generator_are_not_the_servers() -> None:
    limited = one(limit="client")
    for pair in ((limited, one()), (one(), limited)):
        made = found(*pair)
        assert figures(made) == {"p99", "server_cpu"}
        [not_compared] = made.not_compared
        assert (not_compared.figure, not_compared.why) == (
            "throughput",
            "the load generator was the limit in one of the runs",
        )


def test_of_servers_that_work_at_once_only_their_own_cpu_time_is_compared() -> None:
    duet = report(one())
    duet.design.duet = True
    assert figures(found(duet, duet)) == {"server_cpu"}
    mixed = found(one(), duet)
    assert figures(mixed) == {"server_cpu"}
    assert "The runs differ in duet false, then true." in mixed.remarks


def test_times_of_an_overloaded_cell_are_not_compared() -> None:
    over = one(workload="echo-rate", rate=Rate(1000.0, 500.0, 7, overloaded=True))
    made = found(one(workload="echo-rate"), over)
    assert not made.differences
    assert why(made) == {"it is overloaded in one of the runs"}


def test_open_loops_are_compared_at_the_same_rate_only() -> None:
    usual = one(workload="echo-rate")
    near, far = (one(workload="echo-rate", rate=Rate(rate, rate, 0)) for rate in (1040.0, 1100.0))
    assert figures(found(usual, near)) == {"p50", "p99", "server_cpu"}
    made = found(usual, far)
    assert not made.differences
    assert why(made) == {"arrival rates differ, 1,000/s to 1,100/s"}
    # All runs count, and not only the first of either.
    assert not changes([report(usual)], [report(usual), report(far)]).differences


def test_figures_that_a_run_lacks_and_unsound_cells_are_named() -> None:
    lacking = one()
    lacking.rounds[1] = replace(lacking.rounds[1], p99=None)
    made = found(one(), lacking)
    assert figures(made) == {"throughput", "server_cpu"}
    assert why(made) == {"a run has no such figure, or too few calls for it in a round"}
    made = found(one(), one(errors=1))
    assert not made.differences
    assert [line for line in made.omitted() if "has errors" in line and "asyncio" in line]


def test_what_the_runs_differ_in_is_one_line() -> None:
    after = report(
        one(), environment=environment(python="3.12.1", packages={"pyzmq": "28"}, cpu_steps=1200)
    )
    after.design.workers = 8
    _, remark = found(report(one()), after).remarks
    assert remark == (
        "The runs differ in python 3.11.0, then 3.12.1; workers 64, then 8; "
        "cpu steps 1000, then 1200; pyzmq 27, then 28."
    )
    # Calibrated anew, and near enough.
    steps = [
        report(one(), environment=environment(cpu_steps=1000 + 10 * each)) for each in range(RUNS)
    ]
    assert not changes(steps, steps).remarks


@pytest.mark.parametrize("older", [True, False])
def test_a_run_that_cannot_be_trusted_proves_no_change_whichever_it_is(older: bool) -> None:
    before, after = several(asyncio=1000.0), several(asyncio=500.0)
    (before if older else after)[1].verdict = Verdict(
        ["This run cannot be trusted."], trusted=False
    )
    made = changes(before, after)
    assert {each.outcome for each in made.differences} == {"unclear"}
    assert not made.trusted
    assert (
        f"One of the {'older' if older else 'newer'} runs cannot be trusted (as its report says)"
        in printed(changed(made))
    )


def test_several_clients_have_names_of_their_own() -> None:
    pair = [one(limit="client"), one(limit="client", client="asyncio")]
    made = changes([report(*pair)], [report(*pair)])
    [line] = [line for line in made.omitted() if line.startswith("Not compared: throughput")]
    assert "(asyncio; asyncio, asyncio client)" in line


# Files


def test_a_name_is_that_of_a_file_or_of_a_folder_of_runs(tmp_path: Path) -> None:
    made = several(asyncio=1000.0)
    for number, each in enumerate(made):
        (tmp_path / f"{number}.json").write_bytes(each.json())
    (tmp_path / "notes.txt").write_text("no run")
    assert runs(str(tmp_path / "1.json")) == made[1:2]
    assert runs(str(tmp_path)) == made  # in the order of their names
    (tmp_path / "0.json").write_text("no")
    with pytest.raises(UsageError, match=r"0\.json is not a report of ringback compare"):
        runs(str(tmp_path))
