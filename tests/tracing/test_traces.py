"""Spans of calls: who is whose parent, through all loops and kinds of handlers, by the SDK's own
exporters.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ringback
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from processes import SOON, eventually
from ringback import errors
from ringback.protocol.server import Phase
from ringback.testing import serving

import traced  # isort: skip

TRACED = Path(traced.__file__)

Span = dict[str, Any]


class Spans:
    """Those of this process."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def all(self) -> list[Span]:
        return [traced.plain(span) for span in self._exporter.get_finished_spans()]

    def of(self, kind: str, name: str) -> list[Span]:
        return [span for span in self.all() if span["kind"] == kind and span["name"] == name]


@pytest.fixture
def spans() -> Spans:
    return Spans()


def the(found: list[Span]) -> Span:
    (one,) = found
    return one


@pytest.fixture
def client(spans: Spans, backend: str) -> Iterator[Any]:
    options: Any = {"trace": spans.provider}
    with serving(
        traced.service, backend, trace=spans.provider, state="memory://", connect=options
    ) as client:
        yield client


KINDS = ["inline", "awaited", "threaded", "pay"]


@pytest.mark.parametrize("method", KINDS)
def test_a_handler_is_within_the_span_of_its_call(client: Any, spans: Spans, method: str) -> None:
    caller = client.options(idempotency_key="a") if method == "pay" else client
    with trace.get_tracer("test", tracer_provider=spans.provider).start_as_current_span("outer"):
        seen = caller.call(method)
    eventually(lambda: len(spans.all()) == 3)
    outer, call, handling = (
        the(spans.of("INTERNAL", "outer")),
        *(the(spans.of(kind, method)) for kind in ("CLIENT", "SERVER")),
    )
    assert seen == handling["id"]
    assert handling["parent"] == call["id"]
    assert call["parent"] == outer["id"]
    assert len({span["trace"] for span in (outer, call, handling)}) == 1
    assert (
        call["attributes"]["rpc.status_code"] == handling["attributes"]["rpc.status_code"] == "OK"
    )
    assert call["attributes"]["rpc.system.name"] == "ringback"
    assert call["attributes"]["rpc.method"] == handling["attributes"]["rpc.method"] == method
    assert (call["status"], handling["status"]) == ("UNSET", "UNSET")


def test_a_stream_has_one_span_at_each_end(client: Any, spans: Spans) -> None:
    assert len({*client.stream("count", 200)}) == 1
    handling = the(spans.of("SERVER", "count"))
    assert handling["parent"] == the(spans.of("CLIENT", "count"))["id"]
    assert trace.get_current_span().get_span_context().span_id == 0
    with client.stream("count", 1_000_000) as left:
        next(left)
    eventually(lambda: len(spans.of("SERVER", "count")) == 2)
    assert spans.of("CLIENT", "count")[1]["attributes"]["error.type"] == "CANCELLED"


def test_a_fired_call_has_a_span_and_a_one_way_call_too(client: Any, spans: Spans) -> None:
    client.fire("threaded").result(SOON)
    client.notify("noted")
    eventually(lambda: spans.of("SERVER", "noted"))
    for name in ("threaded", "noted"):
        assert the(spans.of("SERVER", name))["parent"] == the(spans.of("CLIENT", name))["id"]


@pytest.mark.parametrize(
    ("code", "of_client", "of_server"),
    [("raise", "ERROR", "ERROR"), ("NOT_FOUND", "ERROR", "UNSET"), ("INTERNAL", "ERROR", "ERROR")],
)
def test_an_error_is_in_both_spans(
    client: Any, spans: Spans, code: str, of_client: str, of_server: str, caplog: Any
) -> None:
    with pytest.raises(errors.CallError):
        client.call("fail", code)
    eventually(lambda: len(spans.all()) == 2)
    call, handling = the(spans.of("CLIENT", "fail")), the(spans.of("SERVER", "fail"))
    told = "UNKNOWN" if code == "raise" else code
    for span, status in ((call, of_client), (handling, of_server)):
        assert span["attributes"]["rpc.status_code"] == span["attributes"]["error.type"] == told
        assert span["status"] == status
    if code == "raise":  # and its trace is in the log
        logged = [record for record in caplog.records if "fail raised" in record.getMessage()]
        assert logged[0].trace_id == handling["trace"]


def test_what_is_not_handled_has_a_span_too(client: Any, spans: Spans) -> None:
    with pytest.raises(errors.MethodNotFound):
        client.call("none")
    with pytest.raises(errors.InvalidArgument):
        client.call("count", "x")
    refused = the(spans.of("SERVER", "_OTHER"))
    assert refused["attributes"]["rpc.method_original"] == "none"
    assert refused["attributes"]["rpc.method"] == "_OTHER"
    assert refused["parent"] == the(spans.of("CLIENT", "none"))["id"]
    with pytest.raises(errors.FailedPrecondition):
        client.call("count", 1)
    refusals = {span["attributes"]["error.type"]: span for span in spans.of("SERVER", "count")}
    calls = {span["attributes"]["error.type"]: span for span in spans.of("CLIENT", "count")}
    assert refusals.keys() == calls.keys() == {"INVALID_ARGUMENT", "FAILED_PRECONDITION"}
    assert all(refusals[code]["parent"] == calls[code]["id"] for code in calls)


def test_a_call_that_ends_before_it_is_sent_has_a_span(spans: Spans) -> None:
    client = ringback.connect("tcp://127.0.0.1:1", trace=spans.provider, timeout=0.05)
    with client, pytest.raises(errors.CallError):
        client.call("add")
    call = the(spans.of("CLIENT", "add"))
    assert call["attributes"]["error.type"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert (call["attributes"]["server.address"], call["attributes"]["server.port"]) == (
        "127.0.0.1",
        1,
    )


def test_interceptors_change_metadata_and_keep_the_trace(spans: Spans) -> None:
    def signed(call: Any) -> Any:
        call.metadata["user"] = "ada"
        yield

    def refused(call: Any) -> Any:
        raise errors.PermissionDenied("no")
        yield

    for interceptor, code in ((signed, "OK"), (refused, "PERMISSION_DENIED")):
        options: Any = {"trace": spans.provider, "interceptors": [interceptor]}
        with serving(
            traced.service, trace=spans.provider, state="memory://", connect=options
        ) as client:
            if code == "OK":
                client.call("threaded")
                assert (
                    the(spans.of("SERVER", "threaded"))["parent"]
                    == the(spans.of("CLIENT", "threaded"))["id"]
                )
            else:
                with pytest.raises(errors.PermissionDenied):
                    client.call("awaited")
                assert the(spans.of("CLIENT", "awaited"))["attributes"]["error.type"] == code


def test_a_trace_that_cannot_be_read_is_a_new_one(client: Any, spans: Spans, backend: str) -> None:
    with ringback.connect(
        client.server.endpoint if "tcp" in client.server.endpoint else "tcp://127.0.0.1:1"
    ) as _:
        pass
    with serving(traced.service, backend, trace=spans.provider, state="memory://") as plain:
        for wrong in ("", "00-x", 5, None, ["00"], "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
            plain.options(metadata={"traceparent": wrong}).call("threaded")
    assert [span["parent"] for span in spans.of("SERVER", "threaded")] == [None] * 6


def test_an_asyncio_client_joins_the_span_of_its_task(spans: Spans) -> None:
    tracer = trace.get_tracer("test", tracer_provider=spans.provider)

    async def one(client: Any, name: str) -> None:
        with tracer.start_as_current_span(name):
            await client.call("awaited")

    async def main() -> None:
        options: Any = {"trace": spans.provider}
        async with serving(
            traced.service,
            "asyncio",
            client="asyncio",
            trace=spans.provider,
            state="memory://",
            connect=options,
        ) as client:
            await asyncio.gather(*(one(client, f"task {number}") for number in range(20)))

    asyncio.run(main())
    tasks = {span["id"]: span for span in spans.all() if span["name"].startswith("task")}
    calls = spans.of("CLIENT", "awaited")
    assert sorted(call["parent"] for call in calls) == sorted(tasks)
    assert all(call["trace"] == tasks[call["parent"]]["trace"] for call in calls)


@pytest.fixture
def chain(
    start_server: Any, tmp_path: Path, monkeypatch: Any
) -> Callable[[], tuple[str, Callable[[], list[Span]]]]:
    """`chain()`: the first endpoint of asyncio -> Twisted -> gevent -> threads, and all spans of
    the four processes.
    """

    def start() -> tuple[str, Callable[[], list[Span]]]:
        path, endpoint = tmp_path / "spans", ""
        path.touch()
        monkeypatch.setenv("TRACED_SPANS", str(path))
        for backend in ("threading", "gevent", "twisted", "asyncio"):
            monkeypatch.setenv("TRACED_NEXT", endpoint)
            monkeypatch.setenv("TRACED_BACKEND", backend)
            server = start_server(
                backend, "service", "--trace", "--state", "memory://", path=TRACED
            )
            endpoint = server.endpoint
        return endpoint, lambda: [json.loads(line) for line in path.read_text().splitlines()]

    return start


def test_a_trace_goes_through_all_loops(chain: Any, spans: Spans) -> None:
    endpoint, theirs = chain()
    with ringback.connect(endpoint, trace=spans.provider) as client:
        path = client.call("chain", [])
        assert len(path) == 4
        client.options(idempotency_key="k").call("pay")
        assert len(list(client.stream("count", 3))) == 3
        client.notify("noted")
        eventually(lambda: len(theirs()) == 10)
    everything = {span["id"]: span for span in [*theirs(), *spans.all()]}
    first = the(spans.of("CLIENT", "chain"))
    span = everything[path[-1]]  # that of the last server
    kinds = []
    while span["id"] != first["id"]:
        kinds.append(span["kind"])
        assert span["trace"] == first["trace"]
        span = everything[span["parent"]]
    assert kinds == ["SERVER", "CLIENT"] * 3 + ["SERVER"]
    assert len({everything[each]["process"] for each in path}) == 4


def test_a_call_that_is_sent_again_has_one_span_of_its_client(
    start_server: Any, spans: Spans, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TRACED_SPANS", str(tmp_path / "spans"))
    servers = [
        start_server("asyncio", "service", "--trace", "--state", "memory://", path=TRACED)
        for _ in range(2)
    ]
    places = [server.endpoint for server in servers]
    with ringback.connect(*places, trace=spans.provider, policy="round-robin") as client:
        for _ in range(4):
            client.call("noted")
        os.kill(servers[0].process.pid, signal.SIGKILL)
        for _ in range(10):
            client.call("noted")
    calls = spans.of("CLIENT", "noted")
    assert len(calls) == 14
    assert {call["attributes"]["rpc.status_code"] for call in calls} == {"OK"}


def test_a_handler_in_another_process_is_within_the_trace(
    start_server: Any, spans: Spans, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "spans"
    monkeypatch.setenv("TRACED_SPANS", str(path))
    server = start_server("asyncio", "service", "--trace", "--state", "memory://", path=TRACED)
    with ringback.connect(server.endpoint, trace=spans.provider) as client:
        assert client.call("elsewhere") == the(spans.of("CLIENT", "elsewhere"))["trace"]
    found = {span["name"]: span for span in map(json.loads, path.read_text().splitlines())}
    assert found["inner"]["parent"] == found["elsewhere"]["id"]
    assert found["inner"]["process"] != found["elsewhere"]["process"]


def test_spans_are_exported_in_batches_while_it_serves_and_at_its_end(
    start_server: Any, tmp_path: Path, monkeypatch: Any, backend: str
) -> None:
    path = tmp_path / "spans"
    path.touch()
    monkeypatch.setenv("TRACED_SPANS", str(path))
    monkeypatch.setenv("TRACED_BATCH", "1")
    server = start_server(backend, "service", "--trace", "--state", "memory://", path=TRACED)
    with ringback.connect(server.endpoint) as client:
        for _ in range(200):
            client.call("threaded")
        eventually(lambda: len(path.read_text().splitlines()) == 200)
        for _ in range(20):
            client.call("awaited")
    assert server.stop() == 0
    assert len(path.read_text().splitlines()) == 220


def test_what_a_handler_logs_has_the_id_of_the_trace(
    start_server: Any, spans: Spans, backend: str
) -> None:
    server = start_server(
        backend, "service", "--trace", "--state", "memory://", "--log-format", "json", path=TRACED
    )
    with ringback.connect(server.endpoint, trace=spans.provider) as client:
        client.call("noted")
    noted = [json.loads(line) for line in server.log.splitlines() if "it was noted" in line]
    assert the(noted)["trace_id"] == the(spans.of("CLIENT", "noted"))["trace"]


def test_calls_that_are_traced_share_the_clients_cache(client: Any, spans: Spans) -> None:
    view = client.options(cache=ringback.Cache(60.0))
    assert len({view.call("threaded") for _ in range(5)}) == 1
    assert len(spans.of("CLIENT", "threaded")) == 5
    assert len(spans.of("SERVER", "threaded")) == 1


def test_calls_that_find_no_room_have_spans_with_their_codes(spans: Spans) -> None:
    options: Any = {"trace": spans.provider, "max_in_flight": 1, "timeout": 0.2}
    with ringback.connect("tcp://127.0.0.1:1", **options) as client:
        client.options(timeout=5.0).fire("threaded").add_done_callback(lambda _: None)
        with pytest.raises(errors.DeadlineExceeded):
            client.call("awaited")
        client.notify("noted")
        with pytest.raises(errors.ResourceExhausted):
            client.notify("noted")
        client.close(now=True)
    assert the(spans.of("CLIENT", "awaited"))["attributes"]["error.type"] == "DEADLINE_EXCEEDED"
    notes = [span["attributes"]["rpc.status_code"] for span in spans.of("CLIENT", "noted")]
    assert notes == ["OK", "RESOURCE_EXHAUSTED"]


IN_A_CHILD = """
import gc, os, sys
import gevent
sys.path.insert(0, sys.argv[1])
import ringback
import traced
from ringback.clients.gevent import connect

client = connect("tcp://127.0.0.1:1", trace=True, timeout=1.0)
future = client.fire("add")
gevent.sleep(0.1)
pid = gevent.fork()
if not pid:
    del client, future
    gc.collect()
    os._exit(0)
gevent.os.waitpid(pid, 0)
print(type(future.exception if future.wait() else future.exception).__name__)
client.close()
"""


def test_a_child_ends_no_span_of_its_parent(run_program: Any, tmp_path: Path) -> None:
    path = tmp_path / "spans"
    ran = run_program("-c", IN_A_CHILD, str(TRACED.parent), env={"TRACED_SPANS": str(path)})
    assert ran.status == 0, ran
    (span,) = map(json.loads, path.read_text().splitlines())
    assert span["attributes"]["error.type"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_a_call_that_is_refused_by_a_server_that_goes_has_a_span(spans: Spans) -> None:
    options: Any = {"trace": spans.provider, "attempts": 1}
    server = ringback.Server(
        traced.service,
        "tcp://127.0.0.1:*",
        backend="threading",
        trace=spans.provider,
        state="memory://",
    )
    with server, ringback.connect(server.endpoint, **options) as client:
        client.call("threaded")
        server._core._machine.phase = Phase.DRAINING
        with pytest.raises(errors.Unavailable):
            client.options(wait_for_ready=False).call("awaited")
        server._core._machine.phase = Phase.SERVING
    refused = the(spans.of("SERVER", "awaited"))
    assert refused["parent"] == the(spans.of("CLIENT", "awaited"))["id"]
    assert refused["attributes"]["error.type"] == "UNAVAILABLE"


def test_without_the_option_there_are_no_spans(spans: Spans) -> None:
    with serving(traced.service, state="memory://") as client:
        assert client.call("threaded") == "0" * 16
        assert client.call("inline") == "0" * 16
    assert spans.all() == []


@pytest.mark.parametrize("wrong", ["yes", 5, object()])
def test_another_value_is_refused(wrong: Any) -> None:
    with pytest.raises(errors.UsageError, match="trace must be"):
        ringback.connect("tcp://127.0.0.1:5555", trace=wrong)
    with pytest.raises(errors.UsageError, match="trace must be"):
        ringback.Server(traced.service, "tcp://127.0.0.1:*", trace=wrong)
