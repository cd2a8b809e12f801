"""Workloads measured in several variants: what protects a counter, what speeds up a read, what it
costs, and what goes wrong.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hdrh.histogram import HdrHistogram
from ringback import errors
from ringback.cli import main
from ringback.compare.asking import request_of
from ringback.compare.command import _start
from ringback.compare.options import CompareOptions
from ringback.compare.report.conditions import Condition, check
from ringback.compare.report.page import html
from ringback.compare.results import Consistency, Report, Result
from ringback.compare.scenario import KEY, Call, Ended
from ringback.compare.workloads import counters, reads, variants
from ringback.compare.workloads.numbers import EACH
from ringback.compare.workloads.table import WORKLOADS
from ringback.compare.workloads.variants import COUNTER, VARIED, VariedWorkload
from ringback.state import open_state
from samples import STYLES, cell, finished, printed, report

# A real run that several tests look at takes its time in whichever comes first.
pytestmark = pytest.mark.timeout(120)

measurements = itertools.count(1000)


class Server:
    """Counters without a network. `add` is what becomes of an update."""

    def __init__(self, add: Callable[[dict[str, int], str], None]) -> None:
        self.totals: dict[str, int] = {}
        self.keys: dict[str, Any] = {}
        self.calls: list[Call] = []
        self._add = add

    def answer(self, call: Call) -> Any:
        self.calls.append(call)
        if call.method == "take":
            return [self.totals.get(name, 0) for name in call.args[0]]
        number, name = call.args
        if call.method != "total_of":
            key = call.kwargs.get(KEY)
            if key in self.keys:
                return self.keys[key]
            self._add(self.totals, name)
            self.keys[key] = [number, self.totals.get(name, 0)]
            if key is None:
                del self.keys[key]
        return [number, self.totals.get(name, 0)]


def right(totals: dict[str, int], name: str) -> None:
    totals[name] = totals.get(name, 0) + 1


def measured(server: Server, calls: int = 2000, *, keyed: bool = False) -> Consistency:
    """What is found after so many calls by one caller."""
    first = next(measurements) * EACH
    script = counters.script("add", keyed, itertools.count(first), 0)
    call = next(script)
    for _ in range(calls):
        try:
            answer = server.answer(call)
        except errors.Unavailable as error:
            with pytest.raises(errors.Unavailable):
                script.throw(error)
            script = counters.script("add", keyed, itertools.count(first + len(server.calls)), 0)
            call = next(script)
        else:
            call = script.send(answer)
    script.close()
    checking = counters.check(Ended(calls, 0, first))
    with pytest.raises(StopIteration) as end:
        checking.send(server.answer(next(checking)))
    found: Consistency = end.value.value
    return found


def test_a_counter_that_keeps_all_lacks_nothing_but_for_calls_sent_twice() -> None:
    server = Server(right)
    found = measured(server)
    twice = sum(one.args == other.args for one, other in itertools.pairwise(server.calls))
    assert twice == pytest.approx(2000 * counters.TWICE / (1 + counters.TWICE), rel=0.1)
    assert found == Consistency(0, twice, 0)
    reads_made = sum(call.method == "total_of" for call in server.calls)
    assert reads_made == pytest.approx(2000 * counters.READS / (1 + counters.TWICE), rel=0.1)


def test_a_key_keeps_what_is_sent_twice_from_being_there_twice() -> None:
    server = Server(right)
    assert measured(server, keyed=True) == Consistency()
    keys = [call.kwargs[KEY] for call in server.calls if call.kwargs]
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == len(keys) / 2 > 50


def test_updates_that_are_lost_are_counted_and_make_reads_stale() -> None:
    chance = random.Random(1)
    lost = 0

    def forgetful(totals: dict[str, int], name: str) -> None:
        nonlocal lost
        if "/" in name.partition("/")[2] and chance.random() < 0.1:  # of those that calls share
            lost += 1
        else:
            right(totals, name)

    found = measured(Server(forgetful))
    assert found.lost_updates == lost > 50
    assert found.stale_reads > 100


def test_a_counter_that_goes_back_makes_reads_stale_though_nothing_is_lost_in_the_end() -> None:
    server = Server(right)
    script = counters.script("add", False, itertools.count(next(measurements) * EACH), 0)
    call, highest, stale = next(script), {}, 0
    ledger = next(reversed(counters._ledgers.values()))
    for _ in range(500):
        number, total = server.answer(call)
        if call.method == "total_of":
            total = max(0, total - 1)
            stale += total < highest.get(call.args[1], 0)
        else:
            highest[call.args[1]] = total
        call = script.send([number, total])
    assert ledger.stale == stale > 20


def test_an_update_of_which_nobody_knows_may_be_there_or_not() -> None:
    def failing(after: bool) -> Callable[[dict[str, int], str], None]:
        chance = random.Random(2)

        def add(totals: dict[str, int], name: str) -> None:
            fails = chance.random() < 0.1
            if after or not fails:
                right(totals, name)
            if fails:
                raise errors.Unavailable("the answer is lost", started=None)

        return add

    assert measured(Server(failing(after=False)), keyed=True) == Consistency()
    assert measured(Server(failing(after=True)), keyed=True) == Consistency()


def test_a_read_is_stale_that_shows_what_had_changed_before_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = itertools.count()
    monkeypatch.setattr(reads.time, "monotonic", lambda: next(now) * reads.CHANGE_SECONDS)
    first = next(measurements) * EACH
    script = reads.script("read", itertools.count(first), 0)
    call = next(script)
    for value in (0, 0, 2, 1):  # each read begins one change later
        call = script.send([call.args[1], value])
    checking = reads.check(Ended(4, 0, first))
    with pytest.raises(StopIteration) as end:
        next(checking)
    assert end.value.value == Consistency(stale_reads=2)


def test_few_keys_are_read_often() -> None:
    script = reads.script("read", itertools.count(EACH), 0)
    keys = []
    call = next(script)
    for _ in range(5000):
        keys.append(call.args[1])
        call = script.send([call.args[1], reads.newest()])
    assert set(keys) <= set(range(1, reads.KEYS))
    assert len(set(keys)) > 0.9 * (reads.KEYS - 1)
    assert sum(key < 10 for key in keys) > 0.3 * len(keys)


# What is asked for


def request(**options: Any) -> tuple[str, ...]:
    return request_of(
        CompareOptions(backend=["threading"], pin=False, time=600, **options)
    ).workloads


@pytest.mark.parametrize("varied", VARIED, ids=lambda varied: varied.workload)
def test_every_variant_is_a_row_of_the_table_and_all_are_measured_where_none_is_named(
    varied: VariedWorkload,
) -> None:
    rows = tuple(varied.row(variant) for variant in varied.variants)
    assert set(rows) <= set(WORKLOADS)
    assert request(workload=[varied.workload]) == rows
    assert [variants.variant(name, varied) for name in rows] == list(varied.variants)


def test_a_variant_that_is_named_is_measured_beside_the_plain_one() -> None:
    expected = ("echo", "counter", "counter-lock", "counter-version")
    assert request(workload=["echo", "counter-lock", "counter-version"]) == expected


def test_each_variant_but_the_first_has_time_of_its_own() -> None:
    one, three = (
        request_of(CompareOptions(workload=names, quick=True)).seconds
        for names in (["counter-lock"], ["counter-lock", "counter-version", "counter-idempotency"])
    )
    assert three > one


@pytest.mark.parametrize("varied", VARIED, ids=lambda varied: varied.workload)
def test_where_nothing_is_said_of_time_there_is_enough_for_all_variants(
    varied: VariedWorkload,
) -> None:
    asked = request_of(CompareOptions(workload=[varied.workload], pin=False))
    assert (asked.workloads, asked.dropped) == (
        tuple(varied.row(variant) for variant in varied.variants),
        (),
    )


# What is claimed


def judged(*results: Result) -> Report:
    return finished(report(*results))


def counter_report(
    speeds: dict[str, float],
    found: dict[str, Consistency] | None = None,
    **changes: Any,
) -> Report:
    """A report of one arm, as fast as `speeds` says of each variant."""
    results = []
    for variant, speed in speeds.items():
        [made] = cell({"asyncio": speed}, COUNTER.row(variant), seed=len(results) + 1)
        made.protect, made.consistency = variant, (found or {}).get(variant, Consistency())
        for name, value in changes.get(variant, {}).items():
            setattr(made, name, value)
        results.append(made)
    return judged(*results)


SPEEDS = {"none": 1000.0, "lock": 300.0, "version": 1004.0, "idempotency": 600.0}
FOUND = {
    "none": Consistency(1234, 56, 78),
    "lock": Consistency(0, 55, 0),
    "version": Consistency(0, 54, 0),
}


def test_each_variant_is_compared_with_the_plain_one_of_the_same_arm() -> None:
    made = counter_report(SPEEDS)
    assert {(each.workload, each.against_workload, each.verdict) for each in made.claims} == {
        ("counter-lock", "counter", "worse"),
        ("counter-version", "counter", "equal"),
        ("counter-idempotency", "counter", "worse"),
    }
    assert {(each.of_arms, each.of_styles, each.of_workloads) for each in made.claims} == {
        (False, False, True)
    }
    [lock] = (each for each in made.claims if each.workload == "counter-lock")
    assert (lock.arm, lock.style, lock.figure, lock.sure) == (
        "asyncio",
        STYLES[0],
        "throughput",
        True,
    )
    assert (lock.against, lock.against_style) == (lock.arm, lock.style)
    assert lock.ratio == pytest.approx(0.3, rel=0.05)
    assert lock.low < lock.ratio < lock.high < 0.5
    assert msgspec.json.decode(made.json(), type=Report).claims == made.claims


def test_a_variant_is_not_compared_with_the_plain_one_of_another_arm() -> None:
    made = judged(*cell({"asyncio": 1000.0}, "counter"), *cell({"gevent": 300.0}, "counter-lock"))
    assert made.claims == []
    both = judged(
        *cell({"asyncio": 1000.0, "gevent": 2000.0}, "counter"),
        *cell({"asyncio": 500.0, "gevent": 500.0}, "counter-lock", seed=2),
    )
    ratios = {each.arm: each.ratio for each in both.claims if each.of_workloads}
    assert ratios == {
        "asyncio": pytest.approx(0.5, rel=0.05),
        "gevent": pytest.approx(0.25, rel=0.05),
    }


def test_without_the_plain_one_there_is_no_claim() -> None:
    assert counter_report({"lock": 300.0, "version": 1000.0}).claims == []


def test_what_the_load_generator_limits_is_called_better_but_neither_equal_nor_worse() -> None:
    outcomes = {
        speed: counter_report({"none": 1000.0, "lock": speed}, lock={"limit": "client"})
        .claims[0]
        .verdict
        for speed in (3000.0, 1000.0, 300.0)
    }
    assert outcomes == {3000.0: "better", 1000.0: "unclear", 300.0: "unclear"}


def test_what_may_be_better_yet_is_said_and_what_it_is_compared_with_may_be_as_good() -> None:
    made = counter_report({"none": 1000.0, "lock": 2000.0}, lock={"limit": "client"})
    assert "lower bounds on asyncio, as the load generator was the limit" in " ".join(
        made.verdict.text
    )
    [plain] = counter_report({"none": 1000.0, "lock": 2000.0}, none={"limit": "client"}).claims
    assert (plain.verdict, plain.sure) == ("unclear", False)


def test_the_words_claim_no_more_than_the_intervals() -> None:
    text, lead = (
        " ".join(counter_report(SPEEDS).verdict.text),
        "compared with none (request-reply, threading client)",
    )
    assert f"counter with lock, {lead}: fewer calls/s on asyncio 0.30" in text
    assert f"counter with version, {lead}: the same calls/s within the margin on asyncio" in text
    [plain], [lock] = (
        cell({"asyncio": 900.0}, name, noise=0.3, seed=len(name))
        for name in ("counter", "counter-lock")
    )
    assert "unclear on asyncio" in " ".join(judged(plain, lock).verdict.text)


def test_a_run_that_cannot_be_trusted_has_counts_and_no_claims() -> None:
    made = counter_report(SPEEDS, FOUND, lock={"wrong": 1})
    assert not made.verdict.trusted
    assert made.claims == []
    assert "compared with none" not in " ".join(made.verdict.text)
    assert "1,234" in printed(made)


def test_what_went_wrong_is_told_again_where_it_should_not_have() -> None:
    assert not [
        each for each in counter_report(SPEEDS, FOUND).verdict.caveats if "Inconsistent" in each
    ]
    made = counter_report(
        SPEEDS, {**FOUND, "version": Consistency(3, 54, 0), "idempotency": Consistency(0, 1, 0)}
    )
    caveats = [each for each in made.verdict.caveats if "Inconsistent" in each]
    assert [each.rpartition(": ")[2] for each in caveats] == [
        "3 lost updates.",
        "1 duplicated effects.",
    ]


def test_the_table_and_the_page_have_what_went_wrong() -> None:
    made = counter_report(SPEEDS, FOUND)
    for shown in (printed(made, 76), html(made)):
        for words in ("1,234 lost updates, 56 duplicated effects, 78 stale reads", "consistent"):
            assert words in shown
    other = report(*cell({"asyncio": 1.0, "gevent": 2.0}))
    assert "consistent" not in printed(other)


def test_what_goes_wrong_can_be_a_condition() -> None:
    made = counter_report(SPEEDS, FOUND)
    made.results += cell({"asyncio": 1.0})  # which has no check

    def broken(text: str) -> list[str]:
        outcome = check([Condition.parse(text)], made)
        assert outcome.undecided == []
        return [each.rpartition(" in ")[2] for each in outcome.broken]

    assert broken("lost_updates>0") == ["counter, request-reply: asyncio"]
    assert broken("counter-idempotency.duplicated_effects>0") == []
    assert len(broken("duplicated_effects>0")) == 3


def test_a_report_shows_the_store_of_an_arm_but_not_its_password() -> None:
    arm = "own=asyncio --state valkey://user:secret@host:6379/0"
    asked = request_of(CompareOptions(workload=["counter-lock"], arm=[arm], time=600))
    told = _start(asked, ["--workload", "counter-lock", "--arm", arm]).json().decode()
    assert "secret" not in told
    assert told.count("valkey://host:6379/0") == 2


# Real runs


def run(folder: Path, *words: str) -> dict[str, Result]:
    """By variant."""
    file = folder / "run.json"
    args = ["--style", STYLES[0], "--rounds", "1", "--quick", "--json", str(file)]
    assert main(["compare", *args, *words]) == 0
    made = msgspec.json.decode(file.read_bytes(), type=Report, strict=True)
    assert all(each.calls > 20 and each.errors == 0 for each in made.results)
    return {each.workload: each for each in made.results}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Every variant of counters and of reads."""
    kinds = (
        "--workload",
        "counter",
        "--workload",
        "read",
        "--concurrency",
        "8",
        "--backend",
        "asyncio",
    )
    return run(tmp_path_factory.mktemp("real"), *kinds)


def test_counters_keep_what_their_protection_promises(real: dict[str, Result]) -> None:
    found = {variant: real[COUNTER.row(variant)] for variant in COUNTER.variants}
    assert [each.protect for each in found.values()] == list(COUNTER.variants)
    plain = found["none"].consistency
    assert plain is not None
    assert plain.lost_updates > 0
    assert plain.duplicated_effects > 0
    assert not [each.protect for each in found.values() if variants.broken(each)]
    assert found["lock"].consistency != Consistency()  # which keeps nothing from being sent twice


def test_counters_may_be_in_a_store_of_ones_own_and_are_not_left_there(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/own.db"
    arm = ("--arm", f"own=asyncio --state {store}", "--arm", "usual=asyncio")
    for _ in range(2):  # what the first run has left does not disturb the second
        found = run(tmp_path, "--workload", "counter-idempotency", *arm)
        assert found[COUNTER.row("idempotency")].consistency == Consistency()
    with open_state(store) as state:
        assert [each.key for each in state.changes() if not each.deleted] == []


def test_reads_are_measured_in_each_variant(real: dict[str, Result]) -> None:
    found = {variant: real[variants.READ.row(variant)] for variant in variants.READ.variants}
    assert [each.optimise for each in found.values()] == list(variants.READ.variants)
    assert not [each.optimise for each in found.values() if variants.broken(each)]
    fastest = {
        variant: HdrHistogram.decode(each.histogram).get_min_value() / 1e9
        for variant, each in found.items()
    }
    # Whatever else runs here: who waits for a database waits for so long at least, and what is kept
    # need not be waited for.
    assert fastest["cache"] < 0.9 * reads.READ_SECONDS
    assert min(fastest[variant] for variant in ("none", "async-io")) > 0.99 * reads.READ_SECONDS
