"""What a slice cost, read from outside the processes, and how fast the processors are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from ringback.compare.results import Limit
from ringback.compare.run import observe
from ringback.compare.run.observe import ProcessSnapshot, Speeds, cost, limit_of, snapshot

linux = pytest.mark.skipif(not observe.LINUX, reason="processors cannot be chosen")


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_snapshot_has_the_cpu_time_of_either_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        before = snapshot([other.pid], os.getpid())
        burn(0.1)
        after = snapshot([other.pid], os.getpid())
        other.communicate(b"\n")
    assert 0.1 <= after.client - before.client < 0.2
    assert 0.0 <= after.server - before.server < 0.1
    assert before.client == pytest.approx(time.process_time(), abs=0.5)
    assert before.at < after.at <= time.monotonic()


def test_several_servers_are_one_end() -> None:
    before = time.process_time()
    found = snapshot([os.getpid()] * 3, os.getpid())
    assert 3 * before <= found.server <= 3 * time.process_time()


@pytest.mark.parametrize("linux", [pytest.param(True, marks=linux), False])
def test_a_process_that_is_gone_is_told(linux: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "LINUX", linux)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    probes: tuple[Callable[[], object], ...] = (
        lambda: snapshot([gone.pid], os.getpid()),
        lambda: snapshot([os.getpid()], gone.pid),
        lambda: observe.resident(gone.pid),
        lambda: observe.descendants(gone.pid),
    )
    for look in probes:
        with pytest.raises(ProcessLookupError):
            look()


@linux
def test_the_clock_of_linux_and_psutil_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = snapshot([os.getpid()], os.getpid())
    monkeypatch.setattr(observe, "LINUX", False)
    # It counts in ticks, of user and system time each.
    assert snapshot([os.getpid()], os.getpid()).client == pytest.approx(clock.client, abs=0.05)


def test_the_processes_of_a_server_are_all_that_it_has_started() -> None:
    starts = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); "
        "input()'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starts], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        parent.stdout.readline()
        [child] = observe.descendants(parent.pid)
        assert child in observe.descendants(os.getpid())
        parent.communicate(b"\n")


# What it cost

BEFORE, AFTER = ProcessSnapshot(10.0, 5.0, 7.0), ProcessSnapshot(11.0, 6.2, 7.3)


def test_what_a_slice_cost_is_by_call_and_by_time() -> None:
    seen = cost(BEFORE, AFTER, 300, 1.25)
    assert seen.server_per_call == pytest.approx(1.2 / 300)
    assert seen.client_per_call == pytest.approx(0.3 / 300)
    assert (seen.server_busy, seen.client_busy) == (0.96, 0.24)


def test_what_a_slice_without_answers_cost_is_that_of_one_call() -> None:
    assert cost(BEFORE, AFTER, 0, 1.25).server_per_call == pytest.approx(1.2)


@pytest.mark.parametrize(("processors", "busy"), [(1, 1.0), (2, 0.6), (3, 0.4)])
def test_a_server_is_busy_when_no_more_of_its_processes_can_run(
    processors: int, busy: float
) -> None:
    assert cost(BEFORE, AFTER, 100, 1.0, processors).server_busy == pytest.approx(busy)


@pytest.mark.parametrize(
    ("server", "client", "limit"),
    [
        (0.95, 0.2, "server"),
        (0.2, 0.95, "client"),
        (0.95, 0.95, "both"),
        (0.95, 0.87, "both"),
        (0.87, 0.3, "both"),
        (0.84, 0.84, "waiting"),
    ],
)
def test_the_end_that_had_nothing_to_spare_is_the_limit(
    server: float, client: float, limit: Limit
) -> None:
    assert limit_of(server, client) == limit


# How fast


@linux
def test_each_processor_is_looked_at_and_this_process_keeps_all_of_them() -> None:
    ours = os.sched_getaffinity(0)
    speeds = Speeds()
    for _ in range(3):
        speeds.probe()
    assert os.sched_getaffinity(0) == ours
    assert {number: len(probes) for number, probes in speeds._probes.items()} == dict.fromkeys(
        ours, 3
    )


def test_speeds_are_parts_of_the_best_that_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    one = observe.processors()[:1]
    monkeypatch.setattr(observe, "processors", lambda: one)
    monkeypatch.setattr(observe, "LINUX", False)  # so that this process is moved nowhere
    probes = iter([2e-4] * 10 + [4e-4] * 8 + [8e-4] * 2)
    monkeypatch.setattr(observe, "_work", lambda: next(probes))
    speeds = Speeds()
    for many in range(20):
        assert speeds.found() is None, many  # of few probes nothing is told
        speeds.probe()
    found = speeds.found()
    assert found is not None
    assert (found.slowest, found.median) == (pytest.approx(0.25), pytest.approx(0.5))


def test_a_look_is_at_work_that_takes_time() -> None:
    speeds = Speeds()
    while speeds.found() is None:
        speeds.probe()
    found = speeds.found()
    assert 0 < found.slowest <= found.median <= 1
    assert all(1e-5 < seconds < 0.1 for probes in speeds._probes.values() for seconds in probes)
