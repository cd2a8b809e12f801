"""What a server counts, on each backend, in one process and in many: exactly the calls that were
made, whatever came of them.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import counted
import pytest
import ringback
import ringback.metrics
from processes import SOON, ServerProcess, eventually
from prometheus_client import CollectorRegistry, generate_latest
from ringback import errors
from ringback.clients.threading import ThreadingClient
from ringback.testing import serving
from scraping import Samples, samples_of

COUNTED = Path(counted.__file__)
DURATIONS = "rpc_server_call_duration_seconds"


class Scraped:
    """A server whose metrics are served, and a client of it."""

    def __init__(self, server: ServerProcess, url: str, client: ThreadingClient) -> None:
        self.server = server
        self._url = url
        self.client = client

    def scrape(self) -> Samples:
        with urllib.request.urlopen(self._url, timeout=SOON) as response:
            return samples_of(response.read().decode())

    def calls(self) -> dict[tuple[str, str], float]:
        """The counter, by method and code."""
        found = {
            labels[::-1]: value
            for (name, labels), value in self.scrape().items()
            if name.endswith("calls_total")
        }
        return {(method, code): value for (method, code), value in found.items()}


@pytest.fixture
def start(start_server: Any, connected: Any, backend: str) -> Callable[..., Scraped]:
    def start(*options: str) -> Scraped:
        words = ("--metrics", "127.0.0.1:0", *options)
        server = start_server(backend, "service", *words, path=COUNTED)
        (url,) = re.findall(r"metrics at (http://\S+)", server.log)
        return Scraped(server, url, connected(server.endpoint))

    return start


def make_calls(client: ThreadingClient) -> dict[tuple[str, str], int]:
    """Calls of each kind; how many are to be counted, by method and code."""
    fired = [client.fire("echo", number) for number in range(300)]
    fired += [client.fire("work", number) for number in range(50)]
    fired += [client.fire("nap", 0.001) for _ in range(10)]
    fired += [client.fire("cached", 1) for _ in range(7)]
    fired += [client.fire("limited", number) for number in range(9)]
    for future in fired:
        future.result(SOON)
    for _ in range(3):
        assert list(client.stream("count", 5)) == [*range(5)]
    ends = {"NOT_FOUND": 2, "ABORTED": 1}
    for code, times in ends.items():
        for _ in range(times):
            with pytest.raises(errors.CallError):
                client.call("fail", code)
    with pytest.raises(errors.RemoteError):
        client.call("fail_inline")
    for method in ("none", "nothing"):
        with pytest.raises(errors.MethodNotFound):
            client.call(method)
    with pytest.raises(errors.InvalidArgument):
        client.call("echo", "text")
    with pytest.raises(errors.FailedPrecondition):
        client.call("count", 1)
    with pytest.raises(errors.DeadlineExceeded):
        client.options(timeout=0.05).call("nap", 5.0)
    with client.stream("count", 1_000_000) as left:
        assert next(left) == 0
    for number in range(5):
        client.notify("echo", number)
    client.call("echo", 0)
    return {
        ("echo", "OK"): 306,
        ("echo", "INVALID_ARGUMENT"): 1,
        ("work", "OK"): 50,
        ("nap", "OK"): 10,
        ("nap", "DEADLINE_EXCEEDED"): 1,
        ("cached", "OK"): 7,
        ("limited", "OK"): 9,
        ("count", "OK"): 3,
        ("count", "FAILED_PRECONDITION"): 1,
        ("count", "CANCELLED"): 1,
        ("fail", "NOT_FOUND"): 2,
        ("fail", "ABORTED"): 1,
        ("fail_inline", "UNKNOWN"): 1,
        ("_OTHER", "UNIMPLEMENTED"): 2,
    }


def test_counters_are_the_calls_that_were_made(start: Callable[..., Scraped]) -> None:
    server = start()
    wanted = make_calls(server.client)
    eventually(lambda: sum(server.calls().values()) == sum(wanted.values()))
    found = server.calls()
    if ("nap", "CANCELLED") in found:  # its client was the first to see that its time was over
        wanted["nap", "CANCELLED"] = wanted.pop(("nap", "DEADLINE_EXCEEDED"))
    assert found == wanted
    samples = server.scrape()
    streams_are = {"count": "ringback_server_stream_duration_seconds"}
    for (method, code), number in wanted.items():
        # (a call that is refused for being no stream is none of the streams)
        is_stream = method in streams_are and code != "FAILED_PRECONDITION"
        name = streams_are[method] if is_stream else DURATIONS
        assert samples[f"{name}_count", (method, code)] == number
    assert samples[f"{DURATIONS}_bucket", ("+Inf", "echo", "OK")] == 306
    assert samples["ringback_cache_requests_total", ("cached", "miss")] == 1
    assert (
        sum(samples["ringback_cache_requests_total", ("cached", how)] for how in ("hit", "shared"))
        == 6
    )
    assert samples["ringback_server_limit", ("limited",)] == 2
    assert samples["ringback_server_clients", ()] == 1
    assert samples["ringback_server_connection_bytes", ()] == 0
    assert {
        value for (name, _), value in samples.items() if name == "ringback_server_in_flight"
    } == {0.0}
    assert samples["ringback_loop_lag_seconds_count", (server.server.backend,)] > 0


def test_the_page_answers_while_a_handler_blocks_the_loop(start: Callable[..., Scraped]) -> None:
    server = start()
    server.client.call("echo", 1)
    running = server.client.fire("block", 3.0)
    time.sleep(0.2)
    began = time.monotonic()
    assert server.calls()["echo", "OK"] == 1
    assert time.monotonic() - began < 1.5
    assert not running.done()
    running.result(SOON)
    eventually(lambda: server.calls().get(("block", "OK")) == 1)


def test_what_is_in_flight_is_told(start: Callable[..., Scraped], backend: str) -> None:
    server = start("--workers", "2")
    running = [server.client.fire("wait" if backend != "gevent" else "nap", 1.0) for _ in range(5)]
    method = running[0].method

    def told() -> bool:
        samples = server.scrape()
        flying = samples["ringback_server_in_flight", (method,)] == 5
        if method == "nap":
            return flying
        taken = samples["ringback_server_workers_taken", ("workers",)] == 2
        return flying and taken and samples.get(("ringback_server_waiting", ("0",))) == 3

    eventually(told)
    for future in running:
        future.result(SOON)


def test_processes_are_counted_together_under_load_and_when_they_end(
    start: Callable[..., Scraped], connected: Any
) -> None:
    server = start("--processes", "2")
    clients = [connected(server.server.endpoint) for _ in range(6)]
    pids = {client.call("pid") for client in clients}
    made = [len(clients)]

    def load(client: ThreadingClient) -> None:
        for number in range(200):
            client.call("echo", number)

    threads = [threading.Thread(target=load, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        server.scrape()
    for thread in threads:
        thread.join()
    wanted = {("echo", "OK"): 1200.0, ("pid", "OK"): float(made[0])}
    time.sleep(1.0)  # a call that ended over a second ago is counted
    assert server.calls() == wanted
    assert server.scrape()["ringback_server_clients", ()] == len(clients)

    os.kill(server.server.process.pid, signal.SIGHUP)  # all processes are replaced
    eventually(lambda: pids.isdisjoint({client.call("pid") for client in clients}))
    for client in clients:
        client.call("echo", 1)
    killed = clients[0].call("pid")
    time.sleep(1.0)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{killed}").exists())  # its supervisor knows
    assert server.calls()["echo", "OK"] == 1206


def test_a_registry_of_the_programs_own_has_them_while_it_serves() -> None:
    registry = CollectorRegistry()
    server = ringback.Server(
        counted.service, "tcp://127.0.0.1:*", backend="threading", metrics=registry
    )
    for _ in range(2):  # it may be started anew, and goes on counting
        with server, ringback.connect(server.endpoint) as client:
            client.call("echo", 1)
            samples = samples_of(generate_latest(registry).decode())
    assert samples["ringback_server_calls_total", ("OK", "echo")] == 2
    assert generate_latest(registry) == b""


def test_a_collector_counts_from_where_it_is_made() -> None:
    registry = CollectorRegistry()
    with serving(counted.service) as client:
        client.call("echo", 1)
        registry.register(ringback.metrics.collector(client.server))

        def counted_now() -> float | None:
            client.call("echo", 1)
            samples = samples_of(generate_latest(registry).decode())
            return samples.get(("ringback_server_calls_total", ("OK", "echo")))

        eventually(counted_now)
    with pytest.raises(errors.UsageError, match="not 5"):
        ringback.metrics.collector(5)  # type: ignore[arg-type]


def scraped(registry: CollectorRegistry) -> Samples:
    text = generate_latest(registry).decode()
    names = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(names) == len({*names})  # each sample once
    return samples_of(text)


def test_refusals_and_endings_of_a_stream_are_one_sample() -> None:
    registry = CollectorRegistry()
    service = ringback.Service("streams")

    @service.method
    def stream(n: int) -> Iterator[int]:
        raise errors.InvalidArgument("as it was asked")
        yield n

    with serving(service, metrics=registry) as client:
        for argument in (1, "x"):
            with pytest.raises(errors.InvalidArgument):
                list(client.stream("stream", argument))
        samples = scraped(registry)
    assert samples["ringback_server_calls_total", ("INVALID_ARGUMENT", "stream")] == 2


def test_what_a_drain_leaves_is_counted_and_no_longer_in_flight() -> None:
    registry = CollectorRegistry()
    server = ringback.Server(
        counted.service,
        "tcp://127.0.0.1:*",
        backend="threading",
        metrics=registry,
        drain_timeout=0.1,
    )
    collector = ringback.metrics.collector(server)
    with server:
        client = ringback.connect(server.endpoint, timeout=5.0)
        fired = [client.fire("wait", 1.0) for _ in range(5)]
        eventually(lambda: scraped(registry)["ringback_server_in_flight", ("wait",)] == 5)
    for future in fired:
        assert isinstance(future.exception(SOON), errors.Unavailable)
    client.close()
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }
    assert found["ringback_server_calls_total", "CANCELLED", "wait"] == 5
    assert found["ringback_server_in_flight", "wait"] == 0


def test_calls_that_were_in_flight_before_are_told_and_do_not_count_down() -> None:
    with serving(counted.service) as client:
        for _ in range(2):
            client.notify("wait", 0.5)
        running = client.fire("wait", 0.5)
        client.call("echo", 1)
        registry = CollectorRegistry()
        registry.register(ringback.metrics.collector(client.server))
        running.result(SOON)
        time.sleep(0.2)
        later = [client.fire("wait", 1.0) for _ in range(2)]
        eventually(lambda: scraped(registry)["ringback_server_in_flight", ("wait",)] == 2)
        for future in later:
            future.result(SOON)
        eventually(lambda: scraped(registry)["ringback_server_in_flight", ("wait",)] == 0)


def test_a_refresh_in_the_background_is_no_call() -> None:
    registry, service = CollectorRegistry(), ringback.Service("stale")
    runs = []

    @service.method(cache=ringback.Cache(0.01, stale=60.0))
    def kept() -> int:
        runs.append(1)
        return len(runs)

    with serving(service, metrics=registry) as client:
        client.call("kept")
        time.sleep(0.05)
        client.call("kept")
        eventually(lambda: len(runs) == 2)
        eventually(lambda: scraped(registry)["ringback_server_in_flight", ("kept",)] == 0)
        samples = scraped(registry)
    assert samples["ringback_server_calls_total", ("OK", "kept")] == 2


def test_a_registry_is_that_of_one_server() -> None:
    registry = CollectorRegistry()
    with serving(counted.service, metrics=registry):
        other = serving(counted.service, metrics=registry)
        with (
            pytest.raises(errors.UsageError, match="the registry has those of another server"),
            other,
        ):
            pass
        scraped(registry)


FORKED = """
import os, sys, urllib.request
import ringback
service = ringback.Service("forked")
server = ringback.Server(service, "tcp://127.0.0.1:*", backend="threading", metrics="127.0.0.1:0")
with server:
    url = server._exposed.__self__.url
    pid = os.fork()
    if not pid:
        with server:
            pass
        os._exit(0)
    os.waitpid(pid, 0)
    print(urllib.request.urlopen(url, timeout=10).status)
"""


def test_the_page_is_the_parents_where_a_child_serves_anew(run_program: Any) -> None:
    ran = run_program("-c", FORKED)
    assert (ran.status, ran.out) == (0, "200\n"), ran


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--metrics", "9100"), 2, "--metrics: '9100' is not HOST:PORT, such as 127.0.0.1:9100"),
        (
            ("--metrics", "nowhere.invalid:9100"),
            3,
            "metrics: cannot listen at nowhere.invalid:9100",
        ),
        (
            ("--metrics", "nowhere.invalid:9100", "--processes", "2"),
            3,
            "metrics: cannot listen at nowhere.invalid:9100",
        ),
    ],
)
def test_what_cannot_be_served_is_one_line(
    run_program: Any, backend: str, words: tuple[str, ...], status: int, says: str
) -> None:
    target = f"{COUNTED}:service"
    bind = ("--bind", "tcp://127.0.0.1:*", "--backend", backend)
    ran = run_program("-m", "ringback", "serve", target, *bind, *words)
    assert (ran.status, ran.out) == (status, ""), ran
    assert says in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err
