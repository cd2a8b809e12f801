"""Handlers that run on a Dask cluster: a real scheduler and workers, as processes of their own,
called through every backend.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ringback
from processes import SOON, ServerProcess, eventually
from ringback import errors

distributed = pytest.importorskip("distributed")

SERVICE = Path(__file__).with_name("on_dask.py")
SLOW = 3 * SOON


class Cluster:
    """A scheduler and workers.

    Nothing that a worker ran is there for the next test, so each may use up what it needs.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.workers: list[subprocess.Popen[bytes]] = []
        self._count = 0
        self.scheduler, self.address = self._start(
            r"Scheduler at:\s+(tcp://\S+)",
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-show",
        )

    def add(self, *options: str) -> subprocess.Popen[bytes]:
        """A worker with one thread."""
        words = [
            "worker",
            self.address,
            "--host",
            "127.0.0.1",
            "--nthreads",
            "1",
            "--no-nanny",
            *options,
        ]
        worker, _ = self._start(r"Registered to:\s+(tcp://\S+)", *words)
        self.workers.append(worker)
        return worker

    def _start(self, ready: str, *words: str) -> tuple[subprocess.Popen[bytes], str]:
        self._count += 1
        log = self.home / f"{words[0]}-{self._count}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words, "--no-dashboard"],
                stderr=file,
                stdout=file,
                cwd=self.home,
                env={**os.environ, "PYTHONPATH": str(SERVICE.parent)},
            )
        eventually(lambda: re.search(ready, log.read_text()) or process.poll() is not None)
        found = re.search(ready, log.read_text())
        assert found is not None, log.read_text()
        return process, found[1]

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        for _ in range(2):
            made.add("--resources", "gpu=1 disk=2")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def client(backend, cluster):
    """Of a server on this backend whose handlers run on that cluster; all tests share it, as its
    client of Dask takes long to start.
    """
    with (
        ServerProcess(backend, "service", "--dask", cluster.address, path=SERVICE) as server,
        ringback.connect(server.endpoint, timeout=SLOW) as connected,
    ):
        yield connected
        assert server.stop(SLOW) == 0


def test_a_method_runs_on_the_cluster(client, cluster):
    assert client.call("there") in [worker.pid for worker in cluster.workers]
    told = client.options(priority=3, metadata={"user": "me"}).call("told")
    assert told == {"method": "told", "priority": 3, "metadata": {"user": "me"}}


@pytest.mark.parametrize(("kind", "error"), [("key", errors.RemoteError), ("ours", errors.Aborted)])
def test_what_a_method_raises_there_arrives_as_ever(client, kind, error):
    with pytest.raises(error):
        client.call("fail", kind)


def test_dask_gives_out_what_its_workers_have(client, tmp_path):
    paths = [tmp_path / str(number) for number in range(6)]
    futures = [client.fire("on_gpu", str(path), 0.1) for path in paths]
    for future in futures:
        future.result(SLOW)
    runs: dict[str, list[tuple[float, float]]] = {}
    for path in paths:
        began, ended, where = path.read_text().split()
        runs.setdefault(where, []).append((float(began), float(ended)))
    assert len(runs) == 2
    for times in map(sorted, runs.values()):
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))


def test_what_no_worker_has_is_refused_at_once(client):
    with pytest.raises(
        errors.FailedPrecondition, match="needs 1 of 'tpu', which no Dask worker has"
    ):
        client.call("never")


def test_a_higher_priority_goes_first_on_the_cluster(client, tmp_path):
    path = tmp_path / "order"
    held = [client.fire("wait", str(tmp_path / f"held{number}"), 1.0) for number in range(2)]
    eventually(lambda: all((tmp_path / f"held{number}").exists() for number in range(2)))
    low = [client.fire("work", str(path), number, 0.05) for number in range(8)]
    client.call("ringback.ping")
    high = [
        client.options(priority=9).fire("work", str(path), number, 0.05)
        for number in range(100, 104)
    ]
    for future in [*held, *low, *high]:
        future.result(SLOW)
    order = [int(line.split()[0]) for line in path.read_text().splitlines()]
    assert len(order) == 12
    # What the workers were given ahead of time may be before them; without a priority, all would
    # be.
    assert sorted(order[:8])[-4:] == [100, 101, 102, 103]


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_a_call_that_nobody_waits_for_is_abandoned(client, tmp_path, how):
    path = tmp_path / "begun"
    client.call("there")
    future = client.options(timeout=0.5 if how == "expired" else None).fire("wait", str(path), 1.0)
    eventually(path.exists)
    if how == "cancelled":
        future.cancel()
        assert future.cancelled()
    else:
        assert isinstance(future.exception(SOON), errors.DeadlineExceeded)
    eventually(lambda: client.call("ringback.stats")["workers"]["dask"]["taken"] == 0)
    assert client.call("there")


def test_every_call_ends_right_when_a_worker_is_killed_in_the_middle(client, cluster, tmp_path):
    path = tmp_path / "runs"
    victim = cluster.add("--resources", "gpu=1 disk=2")
    futures = [
        client.options(priority=number // 2 % 2).fire(
            ("render", "store")[number % 2], str(path), number, 0.05
        )
        for number in range(40)
    ]
    eventually(lambda: path.exists() and str(victim.pid) in path.read_text())
    victim.kill()
    assert [future.result(SLOW) for future in futures] == list(range(40))
    runs = [int(line.split()[0]) for line in path.read_text().splitlines()]
    assert set(runs) == set(range(40))
    assert len(runs) <= 42  # what the lost worker had begun, again


def test_a_lost_scheduler_is_unavailable(start_server, backend, connected, tmp_path):
    lost = Cluster(tmp_path)
    try:
        lost.add()
        server = start_server(backend, "service", "--dask", lost.address, path=SERVICE)
        client, path = connected(server.endpoint, timeout=SLOW), tmp_path / "begun"
        future = client.options(attempts=1).fire("wait", str(path), 60.0)
        eventually(path.exists)
        lost.scheduler.kill()
        assert isinstance(future.exception(SLOW), errors.Unavailable)
        with pytest.raises(errors.Unavailable):
            client.options(attempts=1).call("there")
        assert client.call("here")
    finally:
        lost.stop()


def test_the_client_of_dask_ends_with_its_server(start_server, backend, cluster, connected):
    for ended_by in (signal.SIGTERM, signal.SIGKILL):
        server = start_server(backend, "service", "--dask", cluster.address, path=SERVICE)
        connected(server.endpoint, timeout=SLOW).call("there")
        children = [int(pid) for pid in _children(server.process.pid)]
        assert children
        server.send_signal(ended_by)
        server.wait(SLOW)
        eventually(
            lambda children=children: (
                not any(Path(f"/proc/{pid}/cmdline").exists() for pid in children)
            )
        )


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_a_local_cluster_does_as_well(start_server, backend, connected, monkeypatch):
    monkeypatch.syspath_prepend(str(SERVICE.parent))  # which its workers get
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, processes=True
    ) as local:
        address = local.scheduler_address
        client = connected(
            start_server(backend, "service", "--dask", address, path=SERVICE).endpoint, timeout=SLOW
        )
        assert client.call("there") != client.call("here")


def test_only_what_may_be_repeated_runs_on_dask():
    service = ringback.Service("bad")
    with pytest.raises(errors.UsageError, match="needs idempotent=True or readonly=True"):
        service.method(executor="dask")(_children)


def test_without_an_address_a_server_does_not_start(run_program):
    ran = run_program("-m", "ringback.server", f"{SERVICE}:service")
    assert ran.status == 3
    assert (
        ran.err
        == "ringback: executor='dask' needs the address of the Dask scheduler: --dask tcp://HOST:8786\n"
    )
