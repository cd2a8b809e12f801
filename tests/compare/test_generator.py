"""Real load generators before real servers: every client style makes every kind of calls, and counts the lies it is told."""

from __future__ import annotations

import itertools
import os
import threading
import time
from array import array
from pathlib import Path

import msgspec
import pytest
from ringback import Server, Service
from ringback.clients.asyncio import connect as connect_asyncio
from ringback.clients.threading import connect
from ringback.compare.load.batch import Batch
from ringback.compare.load.generate import _client
from ringback.compare.load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, STYLES, Cell, Load, Plan
from ringback.compare.load.sample import Sample
from ringback.compare.load.work import prepared
from ringback.compare.run import observe, pair
from ringback.compare.run.pair import ANYWHERE, Alone, Generator, Pair, Placement, Servers
from ringback.compare.run.processes import Child, ChildFailed
from ringback.compare.run.request import SERVICE, SLOW
from ringback.compare.workloads import handlers
from ringback.compare.workloads import table as workloads

# Far above what a window takes, also on a loaded machine.
DEADLINE = 30.0

CLIENTS = ("threading", "gevent", "asyncio", "twisted")


def plan(client: str, timeout: float = 10.0) -> Plan:
    return Plan(client=client, cpu_steps=100, timeout=timeout, max_callers=8)


def cell(load: Load, *endpoints: str) -> Cell:
    """A slice of it that begins at once."""
    opens = time.monotonic() + 0.01
    return Cell(load, opens, opens + load.window, endpoints)


def said(generator: Child, asked: Cell) -> Sample:
    """What came of it."""
    generator.say(msgspec.json.encode(asked))
    return msgspec.json.decode(generator.line(DEADLINE), type=Sample)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_style_makes_every_kind_of_calls(client: str) -> None:
    pytest.importorskip(client)
    loads = [
        *(Load(name, style, 4, 0.05, 0.15) for style in STYLES for name in ("echo", "cpu", "mixed")),
        *(Load("echo", style, 4, 0.05, 0.15, rate=400.0) for style in STYLES),
        Load("burst", FIRE_AND_CALLBACK, 4, 0.05, 0.5, burst=50),
        Load("stream", REQUEST_REPLY, 2, 0.05, 0.2),
    ]
    with Alone(pair.backend("asyncio", 4, SERVICE), plan(client), ANYWHERE) as running:
        for load in loads:
            sample = running.measure(load).sample
            assert sample.calls > 0, load
            assert (sample.errors, sample.wrong, sample.why) == ({}, 0, ""), load
            assert sample.whole == pytest.approx(1.0, abs=0.05), load
            assert bool(sample.due) is load.open
            assert sample.answered * load.stride >= sample.calls
            assert sample.answered + sum(sample.errors.values()) + sample.wrong == sample.made
            # (it ends when it was to end, also where the generator was slow to begin)
            assert load.open or sample.seconds >= 0.9 * (load.warmup + load.window)
        beside = running.measure_beside(20, Load("idle", REQUEST_REPLY, 1, 0.05, 0.1))
        assert beside.sample.calls > 0
        assert beside.observed.memory.per_connection is not None


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("style", STYLES)
def test_callers_share_as_many_connections_as_are_asked_for(client: str, style: str) -> None:
    pytest.importorskip(client)
    several = msgspec.structs.replace(plan(client), connections=3)
    with (
        Alone(pair.backend("threading", 4, SERVICE), several, ANYWHERE) as running,
        connect(running.endpoint) as ours,
    ):
        sample = running.measure(Load("echo", style, 6, 0.0, 0.2)).sample
        assert ours.call("ringback.stats")["clients"] == 3 + 1
    assert (sample.errors, sample.wrong) == ({}, 0)
    assert sample.whole == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("client", ["gevent", "twisted"])  # one that waits, and one that awaits
def test_a_client_chooses_among_servers_in_both_styles(client: str) -> None:
    pytest.importorskip(client)
    servers = (pair.backend("threading", 8, service) for service in (SERVICE, SLOW))
    with Alone(next(servers), plan(client), ANYWHERE, others=list(servers)) as running:
        for style in STYLES:
            turns = running.measure(Load("balance", style, 8, 0.15, 0.3, servers=2, slow=True))
            twice = running.measure(Load("balance-hedge", style, 8, 0.0, 0.3, servers=2, slow=True))
            for window in (turns, twice):
                assert (window.sample.errors, window.sample.wrong) == ({}, 0)
                assert window.sample.whole == pytest.approx(1.0, abs=0.05)
            quick, slow = turns.begun
            assert quick.whole + slow.whole == turns.sample.made
            assert 0 < slow.inside < slow.whole
            # They come in waves of as many as there are callers.
            assert slow.whole == pytest.approx(quick.whole, rel=0.4, abs=8)
            quick, slow = twice.begun
            assert quick.whole + slow.whole >= twice.sample.made
            assert slow.whole < quick.whole


def test_a_client_of_several_servers_is_made_anew_as_its_workload_says() -> None:
    asked: list[tuple[tuple[str, ...], dict[str, object]]] = []

    def connect(*endpoints: str, **options: object) -> None:
        asked.append((endpoints, options))

    for name, endpoints in (
        ("balance", ("a", "b", "slow")),
        ("balance-hedge", ("a", "b", "slow")),
        ("read-balance", ("a", "b")),
    ):
        load = Load(name, REQUEST_REPLY, 4, 0.0, 0.1, servers=len(endpoints))
        make, kept = _client(cell(load, *endpoints), connect)
        assert kept == ""
        make()
    assert asked == [
        (("a", "b", "slow"), {"policy": "round-robin", "ejection": False}),
        (("a", "b", "slow"), {"policy": None, "ejection": True}),
        (("a", "b"), {"policy": None, "ejection": True}),
    ]


def test_a_client_of_one_server_is_kept_by_where_that_is() -> None:
    make, kept = _client(cell(Load("echo", REQUEST_REPLY, 4, 0.0, 0.1), "a"), lambda *asked: asked)
    assert (make(), kept) == (("a",), "a")


def test_of_all_servers_those_take_part_that_a_load_is_for() -> None:
    servers = ["a", "b", "c", "slow"]
    load = Load("balance", REQUEST_REPLY, 4, 0.0, 0.1)
    assert (load.taking(servers), load.scattered) == (["a"], False)
    assert load._replace(servers=3).taking(servers) == ["a", "b", "c"]
    assert load._replace(servers=3, slow=True).taking(servers) == ["a", "b", "slow"]
    assert load._replace(servers=3).scattered


@pytest.mark.parametrize("client", CLIENTS)
def test_one_generator_calls_many_servers_and_keeps_a_client_to_each(client: str) -> None:
    pytest.importorskip(client)
    with (
        Servers(pair.backend("threading", 4, SERVICE), ANYWHERE) as one,
        Servers(pair.backend("threading", 4, SERVICE), ANYWHERE) as other,
        Generator(plan(client), ANYWHERE) as generator,
    ):
        pairs = []
        for servers in (one, other):
            servers.wait()
            pairs.append(Pair(servers, generator, ANYWHERE))
        generator.wait()
        assert pairs[0].generator.pid == pairs[1].generator.pid
        served = []
        for running in (*pairs, *reversed(pairs)):
            with connect(running.endpoint) as ours:
                before = ours.call("ringback.stats")
                sample = running.measure(Load("echo", REQUEST_REPLY, 4, 0.0, 0.05)).sample
                after = ours.call("ringback.stats")
            assert (sample.errors, sample.wrong) == ({}, 0)
            served.append((before["clients"], after["clients"]))
        # One of them is ours.
        assert served == [(1, 2), (1, 2), (2, 2), (2, 2)]


@pytest.mark.skipif(len(observe.processors()) < 2 or not observe.LINUX, reason="nothing to choose from")
def test_processes_have_the_processors_they_are_given_once_they_have_started() -> None:
    server, client = observe.processors()[:2]
    placement = Placement((server,), (client,))
    with Alone(pair.backend("threading", 4, SERVICE), plan("threading"), placement) as running:
        running.measure(Load("pooled", REQUEST_REPLY, 4, 0.0, 0.05))
        for child, only in ((running.server, server), (running.generator, client)):
            threads = [int(task.name) for task in Path(f"/proc/{child.pid}/task").iterdir()]
            assert len(threads) > 4
            assert {*itertools.chain(*map(os.sched_getaffinity, threads))} == {only}


@pytest.mark.skipif(len(observe.processors()) < 2 or not observe.LINUX, reason="nothing to choose from")
def test_all_processes_of_a_server_have_the_processors_of_servers() -> None:
    server, client = observe.processors()[:2]
    with Servers(
        pair.backend("asyncio", 4, SERVICE, options=("--processes", "2")), Placement((server,), (client,))
    ) as running:
        running.wait()
        [pids] = running.pids
        assert len(pids) == 3
        threads = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        assert {*itertools.chain(*map(os.sched_getaffinity, threads))} == {server}


@pytest.mark.parametrize("hedge", [False, True])
def test_calls_are_hedged_where_the_workload_says_so(hedge: bool) -> None:
    asked = cell(Load("balance", REQUEST_REPLY, 1, 0.0, 0.1), "a")
    batch = Batch(plan("asyncio"), asked, workloads.WORKLOADS["balance"].script, hedge=hedge)
    client = prepared(connect_asyncio("tcp://127.0.0.1:1"), batch)
    assert client._options.hedge is hedge


def test_calls_of_an_open_loop_are_due_when_they_are_due() -> None:
    with Alone(pair.backend("threading", 4, SERVICE), plan("threading"), ANYWHERE) as running:
        window = running.measure(Load("echo", FIRE_AND_CALLBACK, 4, 0.0, 0.5, rate=200.0, arrivals="even"))
    [timed] = window.sample.timed
    due = sorted(array("d", timed.due))
    gaps = [after - before for before, after in itertools.pairwise(due)]
    assert gaps == pytest.approx([0.005] * len(gaps), abs=1e-6)
    assert window.sample.due == len(due) + window.sample.skipped == pytest.approx(100, abs=2)


@pytest.mark.parametrize("style", STYLES)
def test_a_generator_counts_the_lies_of_a_server(style: str) -> None:
    service = Service("compare")
    told = itertools.count()

    @service.method(inline=True)
    def echo(value: bytes) -> bytes:
        return bytes(len(value)) if next(told) % 3 == 0 else value

    with (
        Server(service, "tcp://127.0.0.1:*", backend="threading") as server,
        Child("ringback.compare.load.generate") as generator,
    ):
        generator.say(msgspec.json.encode(plan("threading")))
        generator.line(DEADLINE)
        sample = said(generator, cell(Load("echo", style, 4, 0.0, 0.3), server.endpoint))
    assert sample.calls > 0
    assert sample.errors == {}
    assert sample.answered + sample.wrong == sample.made
    assert sample.wrong == pytest.approx(sample.made / 3, abs=1)
    assert sample.why == "WrongReply"


def test_errors_are_told_by_their_code() -> None:
    service = Service("compare")

    @service.method(inline=True)
    def echo(value: bytes) -> bytes:
        raise ValueError(len(value))

    with (
        Server(service, "tcp://127.0.0.1:*", backend="threading") as server,
        Child("ringback.compare.load.generate") as generator,
    ):
        generator.say(msgspec.json.encode(plan("asyncio")))
        generator.line(DEADLINE)
        sample = said(generator, cell(Load("echo", REQUEST_REPLY, 2, 0.0, 0.1), server.endpoint))
    assert (sample.answered, sample.calls, set(sample.errors)) == (0, 0, {"UNKNOWN"})
    assert sample.why == "echo: RemoteError: ValueError: 32"


def test_the_server_that_does_nothing_answers_as_a_client_expects() -> None:
    with Alone(pair.null(), plan("threading"), ANYWHERE) as running:
        for style in STYLES:
            sample = running.measure(Load("echo", style, 4, 0.05, 0.1)).sample
            assert sample.calls > 0
            assert (sample.errors, sample.wrong) == ({}, 0)


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


@pytest.mark.parametrize("client", CLIENTS)
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
        Child("ringback.compare.load.generate") as generator,
    ):
        made = msgspec.structs.replace(plan(client), scenario=str(tmp_path / "work.py"))
        generator.say(msgspec.json.encode(made))
        generator.line(DEADLINE)
        for style in STYLES:
            before = asked
            sample = said(generator, cell(Load("scenario", style, 4, 0.0, 0.1, stride=4), server.endpoint))
            assert (sample.wrong, sample.errors) == (0, {}), sample.why
            assert sample.consistency is not None
            # Each caller has taken the number of one call that it does not make any more.
            assert sample.consistency.lost_updates == pytest.approx((asked - before) / 10, abs=1 + 4)
            assert (sample.consistency.duplicated_effects, sample.consistency.stale_reads) == (0, 0)


def test_every_measurement_has_numbers_of_its_own_that_fit_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    cells: list[Cell] = []
    say = Child.say

    def heard(self: Child, line: bytes) -> None:
        if b'"opens"' in line:
            cells.append(msgspec.json.decode(line, type=Cell))
        say(self, line)

    monkeypatch.setattr(Child, "say", heard)
    for _ in range(2):
        with Alone(pair.null(), plan("threading"), ANYWHERE) as running:
            for style in STYLES:
                running.measure(Load("echo", style, 4, 0.0, 0.02, seed=2**53 - 1))
    firsts = sorted(cell.first for cell in cells)
    assert len(firsts) == 4
    assert all(later - first >= 2**32 for first, later in itertools.pairwise(firsts))
    assert firsts[-1] < 2**62


def test_a_server_that_dies_under_load_is_told_with_its_last_words() -> None:
    with Alone(pair.backend("asyncio", 4, SERVICE), plan("threading", timeout=1.0), ANYWHERE) as running:
        running.measure(Load("echo", FIRE_AND_CALLBACK, 4, 0.0, 0.05))
        running.server.stop()
        with pytest.raises(ChildFailed, match="its server ended with status 0"):
            running.measure(Load("echo", FIRE_AND_CALLBACK, 4, 0.0, 0.05))


@pytest.mark.parametrize("client", ["threading", "asyncio"])
def test_what_became_of_the_calls_to_a_server_that_died_is_not_told_of_another(client: str) -> None:
    with (
        Servers(pair.backend("threading", 4, SERVICE), ANYWHERE) as dying,
        Servers(pair.backend("threading", 4, SERVICE), ANYWHERE) as living,
        Generator(plan(client, timeout=1.0), ANYWHERE) as generator,
    ):
        dying.wait()
        living.wait()
        generator.wait()
        load = Load("echo", REQUEST_REPLY, 4, 0.0, 0.1)
        dies = threading.Timer(0.2, dying.children[0].stop)
        dies.start()
        with pytest.raises(ChildFailed, match="its server ended with status 0"):
            Pair(dying, generator, ANYWHERE).measure(load._replace(window=0.5))
        dies.join()
        others = Pair(living, generator, ANYWHERE)
        for workload in ("echo", "cpu"):
            sample = others.measure(load._replace(workload=workload)).sample
            assert [timed.method for timed in sample.timed] == [workload]
            assert (sample.errors, sample.wrong) == ({}, 0)
            assert 0.09 <= sample.seconds < 1.0


def test_a_server_that_does_not_start_is_told_with_its_last_words() -> None:
    with pytest.raises(ChildFailed, match=r"its server ended with status 1.*there is no backend 'nosuch'"):
        Alone(pair.backend("nosuch", 4, SERVICE), plan("threading"), ANYWHERE)


def test_a_client_that_does_not_start_is_told_with_its_last_words() -> None:
    with pytest.raises(ChildFailed, match=r"ended with status 1.*ModuleNotFoundError"):
        Alone(pair.null(), plan("nosuch"), ANYWHERE)


def test_a_child_that_says_nothing_is_not_waited_for() -> None:
    with Child("ringback.compare.load.null") as child:
        assert child.line(DEADLINE).startswith(b"ringback: null on ")
        with pytest.raises(ChildFailed, match="no answer"):
            child.line(0.01)


def test_the_slowed_service_gives_the_right_answer_after_more_work() -> None:
    from ringback.compare.workloads import slowed

    assert slowed.cpu(3, 1000) == handlers.cpu(3, 1000)
