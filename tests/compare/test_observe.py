"""What a window cost, and who else ran: on the processors that are ours."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ringback.compare.results import Memory
from ringback.compare.run import observe
from ringback.compare.run.observe import End, Machine, Snapshot, observed

linux = pytest.mark.skipif(not observe.LINUX, reason="there is no /proc/stat")

# user nice system idle iowait irq softirq steal guest guest_nice, in ticks; processor 1 is offline.
STAT = """\
cpu  500 0 0 900 90 0 0 60 0 0
cpu0 100 0 0 100 10 0 0 10 0 0
cpu2 200 0 0 300 30 0 0 20 0 0
cpu12 200 0 0 500 50 0 0 30 0 0
intr 123 4 5
ctxt 99
"""


@linux
def test_only_the_processors_that_are_ours_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT)
    monkeypatch.setattr(observe, "_STAT", stat)
    monkeypatch.setattr(observe, "_HERTZ", 100)
    monkeypatch.setattr(observe, "processors", lambda: [0, 2])
    machine = observe._machine()
    assert (machine.idle, machine.steal) == (pytest.approx(4.4), pytest.approx(0.3))
    assert machine.worked == pytest.approx(3.0)


@linux
def test_on_one_processor_no_other_one_is_idle_for_us() -> None:
    ours = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(ours)})
        before = observe._machine()
        burned = _burn(0.3)
        after = observe._machine()
    finally:
        os.sched_setaffinity(0, ours)
    # The kernel counts in ticks.
    assert after.idle - before.idle <= after.at - before.at - burned + 0.05


def _burn(seconds: float) -> float:
    began = time.process_time()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return time.process_time() - began


def test_several_servers_are_one_end() -> None:
    end = observe._together([os.getpid()] * 3)
    assert 2 * time.process_time() < end.cpu <= 3 * time.process_time()
    assert abs(end.at - time.monotonic()) < 1.0


@pytest.mark.parametrize(
    ("processors", "servers", "busy"), [(1, 3, 1.5), (2, 3, 0.75), (8, 3, 0.4), (8, 1, 1.2)]
)
def test_servers_are_busy_when_no_more_of_them_can_run(processors: int, servers: int, busy: float) -> None:
    before, after = End(10.0, 0.0, 0.0, 0.0, 0, 0), End(11.0, 1.5, 0.3, 0.0, 0, 0)
    assert observe._busy(before, after, processors, servers) == pytest.approx(busy)


def snapshot(at: float, server: float, client: float, idle: float, steal: float = 0.0) -> Snapshot:
    ends = (End(at, cpu, 0.0, 0.0, 0, 0) for cpu in (server, client))
    return Snapshot(*ends, 0.0, Machine(at, idle, steal))


@pytest.mark.parametrize(
    ("idle", "steal", "told"),
    [
        (0.5, 0.0, ""),
        (0.2, 0.0, "other programs took 30% of a processor"),
        (0.4, 0.1, "the hypervisor took 5% of the processors"),
    ],
)
def test_what_is_neither_ours_nor_idle_disturbs_a_window(idle: float, steal: float, told: str) -> None:
    before, after = snapshot(10.0, 0.0, 0.0, 0.0), snapshot(11.0, 1.0, 0.5, idle, steal)
    seen = observed(before, after, 100, Memory(), (1, 1, 2))
    assert seen.contaminated == told
    assert seen.limit == ("machine" if told else "server")


@pytest.mark.parametrize(("worked", "told"), [(1.5, ""), (1.8, "other programs took 30% of a processor")])
def test_what_the_kernel_does_for_a_disk_disturbs_no_server_that_writes_to_it(
    worked: float, told: str
) -> None:
    before, after = snapshot(10.0, 0.0, 0.0, 0.0), snapshot(11.0, 1.0, 0.5, 0.2)
    after = after._replace(machine=after.machine._replace(worked=worked))
    assert observed(before, after, 100, Memory(), (1, 1, 2), disk=True).contaminated == told
