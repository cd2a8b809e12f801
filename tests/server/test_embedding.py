"""`ringback.Server` inside a running program, and what it binds to."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ringback
import zmq
from processes import SOON, TESTS, ServerProcess
from ringback import errors
from ringback.clients.threading import connect

ANY = "tcp://127.0.0.1:*"


def calc(name: str = "calc") -> ringback.Service:
    service = ringback.Service(name)

    @service.method
    def add(a: int, b: int) -> int:
        return a + b

    @service.method(inline=True)
    def name_of() -> str:
        return name

    @service.method
    async def nap(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @service.method
    def count(n: int):
        yield from range(n)

    return service


def ask(endpoint: str, method: str = "name_of", *args: object, **options: object) -> object:
    """Call once, in a thread of its own, as the caller of a blocking client may not be a loop's
    thread.
    """

    def call() -> object:
        with connect(endpoint, timeout=SOON, **options) as client:
            return client.call(method, *args)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(2 * SOON)


def test_with_serves_in_a_thread_and_ends_it() -> None:
    before = threading.active_count()
    with ringback.Server(calc(), ANY, backend="threading") as server:
        assert server.endpoints == [server.endpoint]
        assert "*" not in server.endpoint
        assert ask(server.endpoint, "add", 1, 2) == 3
        assert ask(server.endpoint, "nap", 0.01) == 0.01
    assert threading.active_count() <= before + 1
    with pytest.raises(errors.Unavailable):
        ask(server.endpoint, wait_for_ready=False)


def test_two_servers_with_their_own_services_live_in_one_process() -> None:
    with (
        ringback.Server(calc("one"), ANY, backend="threading") as one,
        ringback.Server(calc("two"), ANY, backend="threading") as two,
    ):
        assert one.endpoint != two.endpoint
        assert (ask(one.endpoint), ask(two.endpoint)) == ("one", "two")


def test_one_service_may_be_served_twice() -> None:
    service = calc()
    with (
        ringback.Server(service, ANY, backend="threading") as one,
        ringback.Server(service, ANY, backend="threading") as two,
    ):
        assert (ask(one.endpoint), ask(two.endpoint)) == ("calc", "calc")


def test_leaving_with_waits_for_what_was_accepted() -> None:
    with ringback.Server(calc(), ANY, backend="threading") as server:
        client = connect(server.endpoint)
        futures = [client.fire("nap", 0.3) for _ in range(10)]
        assert client.call("add", 1, 2) == 3
    assert [future.result(SOON) for future in futures] == [0.3] * 10
    client.close()


def test_an_error_inside_with_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError), ringback.Server(calc(), ANY, backend="threading"):
        raise ZeroDivisionError


def test_with_serves_on_the_running_hub() -> None:
    gevent = pytest.importorskip("gevent")
    from ringback.clients import gevent as gevent_client

    with (
        gevent.Timeout(SOON),
        ringback.Server(calc(), ANY, backend="gevent") as server,
        gevent_client.connect(server.endpoint) as client,
    ):
        assert client.call("add", 1, 2) == 3
        assert list(client.stream("count", 100)) == list(range(100))
        assert client.call("nap", 0.01) == 0.01
        greenlets = [gevent.spawn(client.call, "add", i, 1) for i in range(50)]
        assert [greenlet.get() for greenlet in greenlets] == list(range(1, 51))


def test_async_with_serves_on_the_running_loop_and_so_does_a_second() -> None:
    from ringback.clients import asyncio as asyncio_client

    async def main() -> None:
        async with (
            ringback.Server(calc("one"), ANY) as one,
            ringback.Server(calc("two"), ANY) as two,
            asyncio_client.connect(one.endpoint) as first,
            asyncio_client.connect(two.endpoint) as second,
        ):
            names = await asyncio.gather(first.call("name_of"), second.call("name_of"))
            assert names == ["one", "two"]
            sums = await asyncio.gather(*(first.call("add", i, 1) for i in range(100)))
            assert sums == list(range(1, 101))
            assert [item async for item in second.stream("count", 100)] == list(range(100))

    asyncio.run(asyncio.wait_for(main(), 2 * SOON))


def test_async_with_waits_for_what_was_accepted() -> None:
    from ringback.clients import asyncio as asyncio_client

    async def main() -> None:
        server = ringback.Server(calc(), ANY)
        async with server:
            client = asyncio_client.connect(server.endpoint)
            futures = [client.fire("nap", 0.3) for _ in range(10)]
            await client.call("add", 1, 2)
        assert await asyncio.gather(*futures) == [0.3] * 10
        await client.close()

    asyncio.run(asyncio.wait_for(main(), 2 * SOON))


@pytest.mark.parametrize(
    ("loop", "how"),
    [
        ("asyncio", "`async with`"),
        ("twisted", "startService"),
        ("threading", "`with`"),
        ("gevent", "`with`"),
    ],
)
def test_entering_a_server_the_wrong_way_says_which_is_right(loop: str, how: str) -> None:
    server = ringback.Server(calc(), ANY, backend=loop)
    wrong = (
        server.__enter__
        if loop in ("asyncio", "twisted")
        else lambda: server.__aenter__().send(None)
    )
    with pytest.raises(errors.UsageError, match=how):
        wrong()


def test_an_asyncio_server_is_entered_where_a_loop_runs_and_may_be_entered_there_later() -> None:
    server = ringback.Server(calc(), ANY)
    with pytest.raises(errors.UsageError, match="running asyncio loop"):
        server.__aenter__().send(None)

    async def main() -> None:
        async with server:
            assert server.endpoints

    asyncio.run(main())


HUB_PROGRAM = """
import sys
import gevent
import ringback
from ringback.clients.threading import connect
from ringback.errors import UsageError

service = ringback.Service("calc")


@service.method
def add(a: int, b: int) -> int:
    return a + b


def refused(ask) -> None:
    try:
        ask()
    except UsageError as error:
        print(error)


server = ringback.Server(service, "tcp://127.0.0.1:*", backend="gevent")
other = ringback.Server(service, "tcp://127.0.0.1:*", backend="threading")
with other, connect(other.endpoint) as before:
    print(before.call("add", 1, 2))
    with server, connect(server.endpoint) as client:
        refused(lambda: client.call("add", 1, 2))
        refused(lambda: client.fire("add", 1, 2))
        refused(lambda: client.notify("add", 1, 2))
        refused(lambda: gevent.spawn(client.call, "add", 1, 2).get())
        print(gevent.get_hub().threadpool.apply(client.call, ("add", 1, 2)))
    print(before.call("add", 1, 2))
"""


def test_the_blocking_client_says_at_once_that_it_would_keep_the_hub_from_serving(
    run_program,
) -> None:
    ran = run_program("-c", HUB_PROGRAM, within=SOON)
    assert ran.status == 0, ran
    said = [line for line in ran.lines if not line.isdigit()]
    assert len(said) == 4, ran
    assert all(line.endswith("use ringback.clients.gevent") for line in said)
    assert [line for line in ran.lines if line.isdigit()] == ["3", "3", "3"]


TWISTED_THREAD = """
import threading
import ringback
from ringback.errors import UsageError
from twisted.internet import reactor, threads

server = ringback.Server(ringback.Service("calc"), "tcp://127.0.0.1:*", backend="twisted")


def ask() -> None:
    try:
        server.startService()
    except UsageError as error:
        print(error)


reactor.callWhenRunning(lambda: threads.deferToThread(ask).addBoth(lambda _: reactor.stop()))
reactor.run()
"""


def test_on_twisted_a_server_is_not_started_in_another_thread(run_program) -> None:
    ran = run_program("-c", TWISTED_THREAD)
    assert ran.status == 0, ran
    assert "reactor.callFromThread" in ran.out


TWISTED_PROGRAM = """
import sys

import ringback
from ringback.clients.twisted import connect
from twisted.application.service import IService, MultiService
from twisted.internet import defer, reactor

service = ringback.Service("calc")


@service.method
def add(a: int, b: int) -> int:
    return a + b


@service.method(inline=True)
def later(seconds: float):
    waiting = defer.Deferred()
    reactor.callLater(seconds, waiting.callback, seconds)
    return waiting


async def main():
    server = ringback.Server(service, "tcp://127.0.0.1:*", backend="twisted")
    assert IService.providedBy(server)
    application = MultiService()
    application.addService(server)
    application.privilegedStartService()
    await defer.maybeDeferred(server.startService)
    async with connect(server.endpoint) as client:
        print(await client.call("add", 1, 2))
        late = [client.fire("later", 0.3) for _ in range(3)]
        await client.call("add", 1, 2)
        await server.stopService()
        print([await one for one in late])


def run():
    running = defer.ensureDeferred(main())
    running.addErrback(lambda failure: failure.printTraceback(sys.stdout))
    running.addBoth(lambda _: reactor.stop())


reactor.callWhenRunning(run)
reactor.callLater(20, reactor.stop)
reactor.run()
"""


def test_on_twisted_a_server_is_an_iservice(run_program) -> None:
    ran = run_program("-c", TWISTED_PROGRAM)
    assert ran.lines == ["3", "[0.3, 0.3, 0.3]"], ran
    assert ran.status == 0


@pytest.fixture(params=["native", "libzmq"])
def within(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What both ends are given to talk within this process, by transport."""
    if request.param == "native":
        yield {}
        return
    with zmq.Context() as context:
        yield {"context": context}


def test_inproc_needs_no_network(within: dict[str, Any]) -> None:
    with ringback.Server(calc(), "inproc://calc", backend="threading", **within) as server:
        assert server.endpoint == "inproc://calc"
        assert ask("inproc://calc", "add", 1, 2, **within) == 3
        futures = []
        with connect("inproc://calc", **within) as client:
            futures = [client.fire("add", i, 1) for i in range(500)]
            assert list(client.stream("count", 200)) == list(range(200))
        assert [future.result() for future in futures] == list(range(1, 501))


def test_inproc_on_the_loop_of_its_client(within: dict[str, Any]) -> None:
    from ringback.clients import asyncio as asyncio_client

    async def main() -> None:
        async with (
            ringback.Server(calc(), "inproc://calc", **within),
            asyncio_client.connect("inproc://calc", **within) as client,
        ):
            assert await client.call("add", 1, 2) == 3

    asyncio.run(asyncio.wait_for(main(), 2 * SOON))


def test_a_server_may_have_several_endpoints(tmp_path: Path) -> None:
    path = f"ipc://{tmp_path}/calc"
    with ringback.Server(calc(), [ANY, path, ANY], backend="threading") as server:
        assert server.endpoints[1] == path
        assert len(set(server.endpoints)) == 3
        assert server.endpoint == server.endpoints[0]
        assert [ask(endpoint) for endpoint in server.endpoints] == ["calc"] * 3


@pytest.mark.parametrize("host", ["127.0.0.1", "*", "localhost", "[::1]"])
def test_port_0_is_any_free_port_and_the_real_one_is_told(host: str) -> None:
    if host == "[::1]":
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    with ringback.Server(calc(), f"tcp://{host}:0", backend="threading") as server:
        port = server.endpoint.rpartition(":")[2]
        assert int(port) > 0
        assert ask(f"tcp://{'127.0.0.1' if host == '*' else host}:{port}") == "calc"


def test_before_the_start_there_is_no_endpoint() -> None:
    server = ringback.Server(calc(), ANY, backend="threading")
    assert server.endpoints == []
    with pytest.raises(RuntimeError, match="no endpoint yet: start it first"):
        _ = server.endpoint


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        with (
            pytest.raises(errors.UsageError, match="is in use"),
            ringback.Server(calc(), taken, backend="threading"),
        ):
            pass

        async def main() -> None:
            async with ringback.Server(calc(), taken):
                pass

        with pytest.raises(errors.UsageError, match="is in use"):
            asyncio.run(main())


def test_a_start_that_failed_may_be_followed_by_one_that_does_not(tmp_path: Path) -> None:
    path = f"ipc://{tmp_path}/calc"
    with ringback.Server(calc("first"), path, backend="threading"):
        with (
            pytest.raises(errors.UsageError, match="is in use"),
            ringback.Server(calc("second"), path, backend="threading"),
        ):
            pass
        assert ask(path) == "first"
    with ringback.Server(calc("third"), path, backend="threading"):
        assert ask(path) == "third"


def test_what_makes_no_server_is_refused_at_once() -> None:
    for change in (
        {"workers": 0},
        {"backend": "no_such_backend"},
        {"uvloop": True, "backend": "threading"},
    ):
        with pytest.raises(errors.UsageError):
            ringback.Server(calc(), ANY, **change)  # type: ignore[arg-type]
    with pytest.raises(errors.UsageError, match=r"ringback\.Service"):
        ringback.Server(object(), ANY)  # type: ignore[arg-type]


# As processes


def _second(backend: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    target = f"{TESTS}/service.py:service"
    command = [
        sys.executable,
        "-m",
        "ringback.server",
        target,
        "--backend",
        backend,
        "--bind",
        endpoint,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * SOON, check=False)


@pytest.mark.parametrize(
    "options", [(), ("--processes", "2")], ids=["one process", "many processes"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "*"])
def test_the_ready_line_has_the_real_port_for_0(
    backend: str, host: str, options: tuple[str, ...], start_server, connected
) -> None:
    server = start_server(backend, "service", *options, bind=(f"tcp://{host}:0",))
    shown = "0.0.0.0" if host == "*" else host
    assert re.fullmatch(rf"tcp://{re.escape(shown)}:[1-9]\d*", server.endpoint)
    assert connected(server.endpoint.replace(shown, "127.0.0.1")).call("add", 1, 2) == 3


def test_a_second_server_on_an_ipc_path_is_refused_in_one_line(
    backend: str, start_server, connected, tmp_path: Path
) -> None:
    path = f"ipc://{tmp_path}/first"
    first = start_server(backend, bind=(path,))
    second = _second(backend, path)
    assert second.returncode == 3
    assert second.stdout == ""
    assert len(second.stderr.splitlines()) == 1
    assert path in second.stderr
    assert "in use" in second.stderr
    assert connected(path).call("add", 1, 2) == 3
    assert first.stop() == 0


def test_a_second_server_on_a_tcp_port_is_refused_in_one_line(
    backend: str, start_server, connected
) -> None:
    first = start_server(backend)
    second = _second(backend, first.endpoint)
    assert second.returncode == 3
    assert second.stdout == ""
    assert len(second.stderr.splitlines()) == 1
    assert f"{first.endpoint} is in use" in second.stderr
    assert connected(first.endpoint).call("add", 1, 2) == 3


def test_the_ipc_path_of_a_server_that_was_killed_can_be_used_again(
    backend: str, start_server, connected, tmp_path: Path
) -> None:
    path = f"ipc://{tmp_path}/first"
    first: ServerProcess = start_server(backend, bind=(path,))
    first.kill()
    start_server(backend, bind=(path,))
    assert connected(path).call("add", 1, 2) == 3


def test_the_ipc_path_of_a_server_that_ended_can_be_used_again_and_leaves_no_files(
    backend: str, start_server, connected, tmp_path: Path
) -> None:
    path = f"ipc://{tmp_path}/first"
    assert start_server(backend, bind=(path,)).stop() == 0
    assert list(tmp_path.iterdir()) == []
    start_server(backend, bind=(path,))
    assert connected(path).call("add", 1, 2) == 3


def test_a_context_for_asyncio_is_as_good_and_what_is_none_is_refused() -> None:
    import zmq.asyncio

    with (
        zmq.asyncio.Context() as context,
        ringback.Server(calc(), "inproc://calc", backend="threading", context=context),
    ):
        assert ask("inproc://calc", "add", 1, 2, context=context) == 3
    with pytest.raises(errors.UsageError, match=r"context must be a zmq\.Context, not 'x'"):
        connect("tcp://127.0.0.1:5555", context="x")


INTERRUPTED = """
import contextlib, os, signal, sys, threading, time
import ringback
service = ringback.Service("s")

@service.lifespan
@contextlib.contextmanager
def app():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    yield

for _ in range(3):
    try:
        with ringback.Server(service, sys.argv[1], backend="threading"):
            print("entered")
    except KeyboardInterrupt:
        print("interrupted", sum(thread.name == "ringback-server" for thread in threading.enumerate()))
"""


def test_a_start_that_is_interrupted_leaves_nothing_behind(run_program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    ran = run_program("-c", INTERRUPTED, endpoint)
    assert ran.out == "interrupted 0\n" * 3, ran
