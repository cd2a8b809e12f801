"""Real load generators before real servers: every client style makes every kind of calls, and
counts the lies it is told.
"""

from __future__ import annotations

import itertools
import os
import threading
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from processes import eventually, unserved_endpoint
from ringback import Server, Service
from ringback.clients.threading import connect
from ringback.compare.load import raw
from ringback.compare.load.batch import Batch, arrivals
from ringback.compare.load.plan import (
    FIRE_AND_CALLBACK,
    RAW,
    REQUEST_REPLY,
    STYLES,
    LoadPlan,
    OfferedLoad,
    SlicePlan,
)
from ringback.compare.load.sample import Sample
from ringback.compare.run import observe, pair
from ringback.compare.run.measured import rate
from ringback.compare.run.pair import ANYWHERE, Generator, Pair, Placement, Serving, alone
from ringback.compare.run.processes import Child, ChildFailed
from ringback.compare.run.request import SERVICE
from ringback.compare.workloads import handlers
from ringback.compare.workloads.table import WORKLOADS

# Far above what a window takes, also on a loaded machine.
DEADLINE = 30.0

CLIENTS = ("threading", "gevent", "asyncio", "twisted")


def plan(client: str, **changes: Any) -> LoadPlan:
    return msgspec.structs.replace(
        LoadPlan(client=client, cpu_steps=100, timeout=10.0, max_callers=8), **changes
    )


def connections(running: Pair) -> int:
    """How many the server has, beside the one that asks."""
    with connect(running.server.endpoint) as ours:
        return int(ours.call("ringback.stats")["clients"]) - 1


@pytest.fixture(scope="module")
def servers() -> Iterator[Sequence[Serving]]:
    with (
        Serving(pair.backend("asyncio", 8, SERVICE), ANYWHERE) as one,
        Serving(pair.backend("threading", 8, SERVICE), ANYWHERE) as other,
    ):
        for each in (one, other):
            each.wait()
        yield one, other


@pytest.fixture(scope="module")
def null() -> Iterator[Serving]:
    """The server that does nothing."""
    with Serving(pair.null(), ANYWHERE) as running:
        running.wait()
        yield running


@pytest.fixture(scope="module", params=CLIENTS)
def pairs(request: pytest.FixtureRequest, servers: Sequence[Serving]) -> Iterator[list[Pair]]:
    """Each of the servers with one generator, whose callers share three connections."""
    pytest.importorskip(request.param)
    with Generator(plan(request.param, connections=3), ANYWHERE) as generator:
        generator.wait()
        yield [Pair(each, generator) for each in servers]


def test_a_generator_keeps_as_many_connections_to_each_server_as_are_asked_for(
    pairs: list[Pair],
) -> None:
    def kept(running: Pair, style: str) -> tuple[int, int]:
        sample = running.measure(OfferedLoad("echo", style, 6, 0.0, 0.05)).sample
        assert (sample.errors, sample.wrong) == ({}, 0)
        assert sample.whole == pytest.approx(1.0, abs=0.05)
        return connections(one), connections(other)

    one, other = pairs
    eventually(lambda: connections(one) == connections(other) == 0)  # an earlier generator has gone
    first, second = STYLES
    eventually(
        lambda: kept(one, first) == (3, 0)
    )  # a caller whose turn comes late connects in another window
    eventually(lambda: kept(other, second) == (3, 3))
    assert [kept(other, first), kept(one, second)] == [(3, 3), (3, 3)]


def test_every_client_style_makes_every_kind_of_calls(pairs: list[Pair]) -> None:
    loads = [
        *(OfferedLoad(name, style, 4, 0.02, 0.1) for style in STYLES for name in ("echo", "mixed")),
        *(OfferedLoad("echo", style, 4, 0.0, 0.15, rate=400.0, seed=7) for style in STYLES),
        OfferedLoad(
            "io", FIRE_AND_CALLBACK, 4, 0.0, 0.15, rate=2_000.0
        ),  # of which 8 workers can do 800
        OfferedLoad("stream", REQUEST_REPLY, 2, 0.0, 0.3),
    ]
    pairs[0].measure(loads[0])  # which connects, if nothing else has
    for load in loads:
        window = pairs[0].measure(load)
        sample = window.sample
        assert sample.calls > 0, load
        assert (sample.errors, sample.wrong, sample.why) == ({}, 0, ""), load
        assert sample.whole == pytest.approx(1.0, abs=0.05), load
        assert bool(sample.due) is load.open
        assert sample.answered == sample.made >= sample.calls
        if load.workload == "io":
            assert rate([window]).overloaded
        if load.seed:  # calls are due when they are due
            [timed] = sample.timed
            due = list(arrivals(load.rate, load.window, load.seed))
            if not sample.skipped:
                assert sorted(array("d", timed.due)) == pytest.approx(due, abs=1e-6)
            assert sample.due == len(timed.due) / 8 + sample.skipped == len(due)
        if not load.open:  # it ends when it was to end
            assert sample.seconds >= 0.9 * (load.warmup + load.window)


@pytest.mark.skipif(
    len(observe.processors()) < 2 or not observe.LINUX, reason="nothing to choose from"
)
def test_all_processes_have_the_processors_they_are_given_once_they_have_started() -> None:
    server, client = observe.processors()[:2]
    placement = Placement((server,), (client,))
    twofold = pair.backend("asyncio", 4, SERVICE, options=("--processes", "2"))
    with alone(twofold, plan("threading"), placement) as running:
        running.measure(OfferedLoad("pooled", REQUEST_REPLY, 4, 0.0, 0.05))
        pids = running.server.pids
        assert len(pids) == 3
        for ends, only in ((pids, server), ([running.generator.pid], client)):
            threads = [
                int(task.name) for pid in ends for task in Path(f"/proc/{pid}/task").iterdir()
            ]
            assert len(threads) > 4
            assert {*itertools.chain(*map(os.sched_getaffinity, threads))} == {only}


# Lies and errors


@pytest.mark.parametrize("client", ["threading", RAW])
def test_a_generator_counts_the_lies_and_the_errors_of_a_server(client: str) -> None:
    service, told = Service("compare"), itertools.count()

    @service.method(inline=True)
    def echo(value: bytes) -> bytes:
        return bytes(len(value)) if next(told) % 3 == 0 else value

    @service.method(inline=True)
    def pooled(value: bytes) -> bytes:
        raise ValueError(len(value))

    with (
        Server(service, "tcp://127.0.0.1:*", backend="threading") as server,
        Generator(plan(client), ANYWHERE) as generator,
    ):
        generator.wait()
        for style in STYLES:
            lied, failed = (
                measured(generator, OfferedLoad(name, style, 4, 0.0, 0.1), server.endpoint)
                for name in ("echo", "pooled")
            )
            assert lied.calls > 0
            assert (lied.errors, lied.why) == ({}, "WrongReply")
            assert lied.answered + lied.wrong == lied.made
            assert lied.wrong == pytest.approx(lied.made / 3, abs=1)
            assert (failed.answered, failed.calls, failed.wrong, {*failed.errors}) == (
                0,
                0,
                0,
                {"UNKNOWN"},
            )
            assert failed.errors["UNKNOWN"] == failed.made
            assert failed.why.startswith("pooled: ")
            assert failed.why.endswith("32")


def measured(generator: Generator, load: OfferedLoad, endpoint: str) -> Sample:
    """What came of a slice."""
    generator.ask(SlicePlan(load, endpoint))
    return generator.answer(generator)


_LOSES_EVERY_TENTH = """
from ringback.compare.scenario import Consistency, call, checked_by

def check(ended):
    total = yield call("take")
    assert ended.failed == 0
    return Consistency(lost_updates=ended.answered - total)

@checked_by(check)
def scenario(number):
    yield call("add", number)
"""


@pytest.mark.parametrize("client", ["gevent", "twisted"])  # one that waits, and one that awaits
def test_updates_that_a_service_loses_are_found_at_the_end_of_a_measurement(
    client: str, tmp_path: Path
) -> None:
    pytest.importorskip(client)
    (tmp_path / "work.py").write_text(_LOSES_EVERY_TENTH)
    total, asked = 0, 0
    service = Service("lossy")

    @service.method(inline=True)
    def add(number: int) -> None:
        nonlocal total, asked
        total += bool(number % 10)
        asked += 1

    @service.method(inline=True)
    def take() -> int:
        nonlocal total
        total, taken = 0, total
        return taken

    with (
        Server(service, "tcp://127.0.0.1:*", backend="threading") as server,
        Generator(plan(client, scenario=str(tmp_path / "work.py")), ANYWHERE) as generator,
    ):
        generator.wait()
        for style in STYLES:
            before = asked
            sample = measured(
                generator, OfferedLoad("scenario", style, 4, 0.0, 0.1, stride=4), server.endpoint
            )
            assert (sample.wrong, sample.errors) == (0, {}), sample.why
            assert sample.consistency is not None
            # Each caller has taken the number of one call that it does not make any more.
            assert sample.consistency.lost_updates == pytest.approx(
                (asked - before) / 10, abs=1 + 4
            )
            assert (sample.consistency.duplicated_effects, sample.consistency.stale_reads) == (0, 0)


# Calls without a client


def test_without_a_client_calls_are_made_to_each_server_by_one_connection_in_both_styles(
    servers: Sequence[Serving],
) -> None:
    with Generator(plan(RAW), ANYWHERE) as generator:
        generator.wait()
        one, other = (Pair(each, generator) for each in servers)
        before = connections(one), connections(other)
        loads = [
            OfferedLoad(name, style, 8, 0.0, 0.1)
            for name in ("echo", "cpu", "pooled")
            for style in STYLES
        ]
        for load in (*loads, OfferedLoad("flood", FIRE_AND_CALLBACK, 64, 0.0, 0.1, stride=16)):
            for running in (one, other):
                sample = running.measure(load).sample
                assert (sample.errors, sample.wrong) == ({}, 0), sample.why
                assert sample.answered == sample.made > load.concurrency
                assert [timed.method for timed in sample.timed] == [
                    *WORKLOADS[load.workload].methods
                ]
                assert sample.whole == pytest.approx(1.0, abs=0.05)
        assert (connections(one) - before[0], connections(other) - before[1]) == (1, 1)


def test_without_a_client_a_lost_server_costs_its_own_calls_alone(
    null: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringback.compare.load.batch._GRACE", 0.1)
    samples: list[Sample] = []
    with Child("ringback.compare.load.null") as dying:
        lost = dying.line(DEADLINE).split()[3].decode()
        dies = threading.Timer(0.1, dying.stop)

        dies.start()
        for endpoint in (lost, null.endpoint):
            asked = SlicePlan(OfferedLoad("echo", FIRE_AND_CALLBACK, 8, 0.0, 0.3), endpoint)
            batch = Batch(plan(RAW, timeout=0.1), asked, WORKLOADS["echo"])
            client = raw.Raw(endpoint)
            batch.starts()
            client.drive(batch)
            client.close()
            samples.append(batch.sample())
        dies.join()
    first, second = samples
    assert (first.errors, first.wrong) == ({"DEADLINE_EXCEEDED": 8}, 0)
    assert first.answered == first.made - 8 > 0
    assert (second.errors, second.wrong) == ({}, 0)
    assert second.answered == second.made > 0


def test_without_a_client_a_server_that_does_not_welcome_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raw, "_WELCOME", 0.01)
    with (
        unserved_endpoint() as endpoint,
        pytest.raises(RuntimeError, match=f"{endpoint} did not welcome a connection"),
    ):
        raw.Raw(endpoint)


# Processes that fail


def test_every_measurement_has_numbers_of_its_own_that_fit_64_bits(
    null: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells: list[SlicePlan] = []
    ask = Generator.ask

    def begun(self: Generator, asked: SlicePlan) -> None:
        cells.append(asked)
        ask(self, asked)

    monkeypatch.setattr(Generator, "ask", begun)
    with Generator(plan("threading"), ANYWHERE) as generator:
        generator.wait()
        for style in STYLES * 2:
            load = OfferedLoad(
                "echo", style, 4, 0.0, 0.2, seed=2**53 - 1
            )  # in which the first connects
            sample = Pair(null, generator).measure(load).sample
            # That server answers as a client expects.
            assert (sample.errors, sample.wrong) == ({}, 0)
            assert sample.answered > 0
    firsts = sorted(cell.first for cell in cells)
    assert len(firsts) == 4
    assert all(later - first >= 2**32 for first, later in itertools.pairwise(firsts))
    assert firsts[-1] < 2**62


def test_a_server_that_dies_is_told_and_what_became_of_its_calls_is_not_told_of_another(
    servers: Sequence[Serving],
) -> None:
    with (
        Serving(pair.backend("threading", 4, SERVICE), ANYWHERE) as dying,
        Generator(plan("threading", timeout=1.0), ANYWHERE) as generator,
    ):
        dying.wait()
        generator.wait()
        load = OfferedLoad("echo", REQUEST_REPLY, 4, 0.0, 0.1)
        dies = threading.Timer(0.2, dying.stop)
        dies.start()
        for _ in range(2):  # while it is measured, and before
            with pytest.raises(ChildFailed, match="its server ended with status 0"):
                Pair(dying, generator).measure(load._replace(window=0.5))
            dies.join()
        others = Pair(servers[1], generator)
        for workload in ("echo", "cpu"):
            sample = others.measure(load._replace(workload=workload)).sample
            assert [timed.method for timed in sample.timed] == [workload]
            assert (sample.errors, sample.wrong) == ({}, 0)
            assert sample.seconds >= 0.09


def test_a_server_that_does_not_start_is_told_with_its_last_words() -> None:
    with (
        Serving(pair.backend("nosuch", 4, SERVICE), ANYWHERE) as running,
        pytest.raises(
            ChildFailed, match=r"its server ended with status 2.*there is no backend 'nosuch'"
        ),
    ):
        running.wait()


def test_a_client_that_does_not_start_is_told_with_its_last_words() -> None:
    with (
        Generator(plan("nosuch"), ANYWHERE) as generator,
        pytest.raises(ChildFailed, match=r"ended with status 1.*there is no client 'nosuch'"),
    ):
        generator.wait()


def test_a_child_that_says_nothing_is_not_waited_for(null: Serving) -> None:
    with pytest.raises(ChildFailed, match="no answer"):
        null.line(0.01)


def test_the_slowed_service_gives_the_right_answer_after_more_work() -> None:
    from ringback.compare.workloads import slowed

    assert slowed.cpu(3, 1000) == handlers.cpu(3, 1000)
