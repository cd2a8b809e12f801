"""`inproc://` natively: servers are found by name within a process, and nowhere else."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
from processes import SOON
from ringback import Server, Service, errors
from ringback.clients import threading as blocking

HERE = "inproc://here"

# Each loop serves and calls within one process.
GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent
from ringback import Server, Service
from ringback.clients.gevent import connect
service = Service("s")
service.method(lambda x: x, name="echo")
with Server(service, "inproc://here", backend="gevent"), connect("inproc://here") as client:
    print(gevent.spawn(client.call, "echo", 7).get(), client.call("echo", bytes(3_000_000)) == bytes(3_000_000))
"""

TWISTED = """
from ringback import Server, Service
from ringback.clients.twisted import connect
from twisted.internet import task
from twisted.internet.defer import ensureDeferred
service = Service("s")
service.method(lambda x: x, name="echo")

async def main():
    server = Server(service, "inproc://here", backend="twisted")
    await server.startService()
    client = connect("inproc://here")
    print(await client.call("echo", 7), await client.call("echo", bytes(3_000_000)) == bytes(3_000_000))
    await client.close()
    await server.stopService()

task.react(lambda reactor: ensureDeferred(main()))
"""


@pytest.fixture
def service() -> Service:
    made = Service("s")
    made.method(inline=True, idempotent=True)(echo)
    return made


def echo(value: Any) -> Any:
    return value


def serving(service: Service, endpoint: str = HERE, **options: Any) -> Server:
    return Server(service, endpoint, backend="threading", **options)


@pytest.mark.parametrize("program", [GEVENT, TWISTED], ids=["gevent", "twisted"])
def test_both_ends_on_one_loop(run_program: Any, program: str) -> None:
    pytest.importorskip("gevent" if "gevent" in program else "twisted")
    ran = run_program("-c", program)
    assert (ran.status, ran.out) == (0, "7 True\n"), ran


def test_a_client_waits_for_the_server_to_come_and_to_come_back(service: Service) -> None:
    with closing(blocking.connect(HERE, timeout=SOON)) as client:
        with pytest.raises(
            errors.Unavailable, match="no server at inproc://here: connection refused"
        ):
            client.options(wait_for_ready=False).call("echo", 1)
        waiting = client.fire("echo", 2)
        with serving(service):
            assert waiting.result(SOON) == 2
        later = client.fire("echo", 3)
        with serving(service):
            assert later.result(SOON) == 3


def test_a_name_is_one_servers_until_that_has_ended(service: Service) -> None:
    with (
        serving(service),
        pytest.raises(errors.UsageError, match="inproc://here is in use"),
        serving(service),
    ):
        pass
    with serving(service), serving(service, "inproc://there"):
        pass
    with serving(service):
        pass


def test_a_server_may_listen_within_the_process_and_beyond(service: Service) -> None:
    with Server(service, [HERE, "tcp://127.0.0.1:*"], backend="threading") as server:
        for endpoint in server.endpoints:
            with closing(blocking.connect(endpoint, timeout=SOON)) as client:
                assert client.call("echo", endpoint) == endpoint


def test_connections_are_bounded_as_on_a_network(service: Service) -> None:
    with serving(service, max_connections=2), ExitStack() as stack:
        first, second, third = (
            stack.enter_context(closing(blocking.connect(HERE, timeout=SOON))) for _ in range(3)
        )
        assert [first.call("echo", 1), second.call("echo", 2)] == [1, 2]
        waiting = third.fire("echo", 3)
        first.close()
        assert waiting.result(SOON) == 3


def test_many_threads_connect_while_the_server_comes_and_goes(service: Service) -> None:
    ended: list[int] = []

    def call(number: int) -> None:
        for _ in range(5):
            with (
                closing(blocking.connect(HERE, timeout=SOON)) as client,
                suppress(errors.Unavailable),
            ):
                # (many are lost with a server, and not all of those are sent again)
                assert client.call("echo", number) == number
        ended.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while alive := [thread for thread in threads if thread.is_alive()]:
        with serving(service):
            alive[0].join(0.05)
    for thread in threads:
        thread.join()
    assert sorted(ended) == list(range(8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it is about forks")
def test_a_forked_child_does_not_reach_its_parents_server(run_program: Any) -> None:
    ran = run_program(
        "-c",
        """
import os
from ringback import Server, Service, errors
from ringback.clients.threading import connect
service = Service("s")
service.method(lambda x: x, name="echo")
with Server(service, "inproc://here", backend="threading"):
    if os.fork() == 0:
        with connect("inproc://here") as client:
            try:
                client.options(wait_for_ready=False).call("echo", 1)
            except errors.Unavailable:
                os._exit(0 if Server(service, "inproc://here", backend="threading").__enter__() else 2)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    with connect("inproc://here") as client:
        print(status, client.call("echo", 7))
""",
    )
    assert (ran.status, ran.out) == (0, "0 7\n"), ran


def test_keys_are_not_for_one_process(service: Service) -> None:
    with pytest.raises(errors.UsageError, match="inproc://here is within one process"):
        blocking.connect(HERE, server_key="x" * 40)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it is about forks")
def test_a_forked_child_keeps_no_socket_of_the_server(run_program: Any) -> None:
    ran = run_program(
        "-c",
        """
import gc, os, socket
from ringback import Server, Service
reads, writes = os.pipe()
server = Server(Service("s"), ["inproc://here", "tcp://127.0.0.1:*"], backend="threading")
with server:
    address = server.endpoints[1].removeprefix("tcp://").split(":")
    child = os.fork()
    if child == 0:
        del server
        gc.collect()
        os.write(writes, b"collected")
        os.read(reads, 1)
        os._exit(0)
    os.read(reads, 9)
try:
    socket.create_connection(address).close()
    print("still accepts")
except ConnectionRefusedError:
    print("refused")
os.kill(child, 9)
os.wait()
""",
    )
    assert (ran.status, ran.out) == (0, "refused\n"), ran
