"""Handlers that run in other processes: what a user may rely on, on every backend."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ringback
from processes import SOON, ServerProcess, ended, eventually
from ringback import errors

SERVICE = Path(__file__).with_name("elsewhere.py")
SLOW = 2 * SOON  # a process has to be started first


@pytest.fixture
def server(start_server, backend):
    """`server(*options)`: one with two worker processes."""
    return lambda *options: start_server(
        backend, "service", "--worker-processes", "2", *options, path=SERVICE
    )


@pytest.fixture(scope="module")
def client(backend):
    """Of a server that all tests share which need no other, as its processes take long to start."""
    with (
        ServerProcess(backend, "service", "--worker-processes", "2", path=SERVICE) as server,
        ringback.connect(server.endpoint, timeout=SLOW) as connected,
    ):
        yield connected
        assert server.stop(SLOW) == 0


def begun(path: Path) -> int:
    """The process in which `wait` has begun."""
    eventually(lambda: path.exists() and path.read_text())
    return int(path.read_text())


def test_a_method_runs_in_another_process_and_its_values_are_typed_there_and_here(client):
    assert client.call("there") != client.call("here")
    assert client.options(returns=dict[str, int]).call("mirrored", {"x": 1, "y": 2}) == {
        "x": 2,
        "y": 1,
    }


def test_the_call_is_told_there(client):
    told = client.options(metadata={"user": "me"}, timeout=SLOW).call("told")
    assert (told["method"], told["metadata"], told["app"]) == ("told", {"user": "me"}, None)
    assert 0 < told["left"] <= SLOW


def test_a_call_sees_nothing_of_what_another_has_set_there(client):
    assert {client.call("named", str(number)) for number in range(10)} == {"nobody"}


@pytest.mark.parametrize(
    ("kind", "error"),
    [("key", errors.RemoteError), ("ours", errors.Aborted), ("unsendable", errors.RemoteError)],
)
def test_what_a_method_raises_there_arrives_as_ever(client, kind, error):
    with pytest.raises(error) as caught:
        client.call("fail", kind)
    if kind == "key":
        assert (caught.value.type, caught.value.message) == ("KeyError", "'x'")


def test_the_traceback_stays_in_the_servers_log(server, connected):
    running = server()
    with pytest.raises(errors.RemoteError):
        connected(running.endpoint, timeout=SLOW).call("fail", "key")
    assert running.logged('raise {"key": KeyError("x")')


def test_a_result_that_cannot_be_sent_ends_its_own_call(client):
    with pytest.raises(errors.RemoteError):
        client.call("unsendable")
    assert client.call("there")


def test_a_process_that_dies_ends_its_own_call_and_no_other(client, tmp_path):
    other = client.fire("wait", str(tmp_path / "other"), 1.0)
    begun(tmp_path / "other")
    with pytest.raises(
        errors.RemoteError, match="the process in which die ran ended with status 9"
    ) as caught:
        client.call("die")
    assert caught.value.type == "ProcessExpired"
    assert other.result(SLOW) is None
    assert client.call("there")


def test_processes_that_die_with_nothing_to_do_are_replaced(server, connected):
    client = connected(server().endpoint, timeout=SLOW)
    idle = client.call("there")
    os.kill(idle, signal.SIGKILL)
    eventually(lambda: ended(idle))
    futures = [client.fire("there") for _ in range(4)]
    # The one that finds the loss may be lost with it; all that follow are not.
    for future in futures:
        future.exception(SLOW)
    assert client.call("there") != idle


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_a_call_that_nobody_waits_for_is_stopped(client, tmp_path, how):
    path = tmp_path / "begun"
    client.call("there")
    future = client.options(timeout=0.7 if how == "expired" else None).fire("wait", str(path), 2.0)
    pid = begun(path)
    if how == "cancelled":
        future.cancel()
    eventually(lambda: ended(pid))
    assert path.read_text() != "over"
    assert future.cancelled() or isinstance(future.exception(), errors.DeadlineExceeded)
    assert client.call("there") != pid
    eventually(lambda: client.call("ringback.stats")["workers"]["process"]["taken"] == 0)


def test_no_more_run_at_once_than_there_are_processes(client, tmp_path):
    paths = [tmp_path / str(number) for number in range(4)]
    client.call("there")
    futures = [client.fire("hold", str(path)) for path in paths]
    for path in paths[:2]:
        begun(path)
    looked = client.call("ringback.stats")
    assert (looked["workers"]["process"], looked["waiting"]) == ({"taken": 2, "total": 2}, {0: 2})
    assert not any(path.exists() for path in paths[2:])
    for path in paths:
        path.with_name(f"{path.name}.go").touch()
    for future in futures:
        future.result(SLOW)


def test_the_memory_of_a_process_may_be_bounded(server, connected):
    client = connected(server("--worker-memory", "1024").endpoint, timeout=SLOW)
    assert client.call("fill", 10) == 10 << 20
    with pytest.raises(errors.RemoteError) as caught:
        client.call("fill", 2048)
    assert caught.value.type == "MemoryError"
    assert client.call("fill", 10) == 10 << 20


def test_all_plain_functions_may_run_in_processes(server, connected):
    running = server("--executor", "process")
    client = connected(running.endpoint, timeout=SLOW)
    assert running.process.pid not in (client.call("here"), client.call("kept"))
    assert list(client.stream("count", 3)) == [0, 1, 2]


def test_a_server_that_drains_ends_its_processes_and_their_calls_before(
    server, connected, tmp_path
):
    running = server()
    client = connected(running.endpoint, timeout=SLOW)
    path = tmp_path / "begun"
    future = client.fire("wait", str(path), 0.5)
    pid = begun(path)
    assert running.stop(SLOW) == 0
    assert future.result(SOON) is None
    assert path.read_text() == "over"
    eventually(lambda: ended(pid))


def test_a_server_that_is_killed_leaves_no_process_behind(server, connected):
    running = server()
    pid = connected(running.endpoint, timeout=SLOW).call("there")
    os.kill(running.process.pid, signal.SIGKILL)
    eventually(lambda: ended(pid))


def test_a_function_that_another_process_cannot_find_is_refused_at_the_start(run_program):
    ran = run_program("-m", "ringback.server", f"{SERVICE}:lambdas")
    assert ran.status == 3
    assert ran.err == (
        "ringback: method 'nameless': a function for another process must be at the top of a "
        "module, under its own name\n"
    )


def numbers(items: Iterator[int]) -> int:
    return sum(items)


def stream() -> Iterator[int]:
    yield 1


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "why"),
    [
        (stream, {"executor": "process"}, "executor='process' cannot run a stream"),
        (coroutine, {"executor": "process"}, "is for plain functions that are not inline"),
        (coroutine, {"executor": "thread"}, "is for plain functions that are not inline"),
        (
            ended,
            {"executor": "process", "inline": True},
            "is for plain functions that are not inline",
        ),
        (
            ended,
            {"executor": "fibre"},
            "executor must be one of inline, thread, process, dask, not 'fibre'",
        ),
    ],
)
def test_what_no_executor_can_do_is_refused_when_it_is_declared(function, options, why):
    with pytest.raises(errors.UsageError, match=why):
        ringback.Service("bad").method(**options)(function)


def test_an_argument_that_streams_does_not_reach_another_process():
    service = ringback.Service("bad")
    service.method(executor="process")(numbers)
    with pytest.raises(
        errors.UsageError, match="executor='process' cannot take a streamed argument"
    ):
        service.prepare()


def test_inline_is_an_executor_too():
    service = ringback.Service("fine")
    service.method(executor="inline")(ended)
    assert service.methods["ended"].inline


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"executor": "inline"},
            "the server: executor must be one of thread, process, dask, not 'inline'",
        ),
        ({"worker_processes": 0}, "worker_processes must be a whole number, 1 or more"),
        ({"worker_memory": 0}, "worker_memory must be a whole number of bytes, 1 or more"),
    ],
)
def test_bad_options_of_a_server_are_refused_when_it_is_made(options, why):
    with pytest.raises(errors.UsageError, match=why):
        ringback.Server(ringback.Service("bad"), "tcp://127.0.0.1:*", **options)
