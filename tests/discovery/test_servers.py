"""Servers that announce themselves: when they answer calls, until they drain or die; and `ringback
servers`, which lists them.
"""

from __future__ import annotations

import json
import os
import signal

import pytest
import ringback
from processes import BACKENDS, SOON, eventually
from registries import of_service
from ringback.discovery.listing import announced as listed
from ringback.errors import UsageError

OTHER = "tcp://127.0.0.1:5555"

SERVICE = """
import os, time
import ringback
from ringback.discovery import rows

rows.LEASE = 1.0
service = ringback.Service("calc")


@service.method
def wait(path: str) -> int:
    while not os.path.exists(path):
        time.sleep(0.005)
    return os.getpid()


@service.method
def whoami() -> int:
    return os.getpid()
"""

calc = ringback.Service("calc")


@calc.method
def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture
def start(start_server, tmp_path):
    """`start(url, *options, ...)`: a server of calc in that registry, with a lease of 1 s."""
    path = tmp_path / "calc.py"
    path.write_text(SERVICE)

    def start(url, *options, backend="asyncio", **more):
        return start_server(backend, "service", "--register", url, *options, path=path, **more)

    return start


@pytest.mark.parametrize(
    ("loop", "url"),
    [*((loop, "sqlite") for loop in BACKENDS), ("asyncio", "valkey"), ("gevent", "valkey")],
    indirect=["url"],
)
def test_a_server_is_there_until_it_drains_and_its_calls_finish(
    start, watched, announced, connected, tmp_path, loop, url
):
    if loop in ("gevent", "twisted"):
        pytest.importorskip(loop)
    announced(url, OTHER)
    watch = watched(url)
    watch.until(OTHER)
    server = start(url, backend=loop)
    watch.until(OTHER, server.endpoint)
    client = connected(server.endpoint)
    path = tmp_path / "go on"
    waiting = client.fire("wait", str(path))
    assert client.call("whoami") == server.process.pid
    server.send_signal(signal.SIGTERM)
    watch.until(OTHER)
    assert not waiting.done()
    path.touch()
    assert waiting.result(SOON) == server.process.pid
    client.close()
    assert server.wait() == 0
    assert [row.endpoint for row in listed(url)] == [OTHER]


def test_a_server_that_is_killed_is_gone_when_its_lease_is_over(start, watched, announced, url):
    announced(url, OTHER)
    watch = watched(url)
    server = start(url)
    watch.until(OTHER, server.endpoint)
    server.kill()
    watch.until(OTHER)


def test_a_store_that_is_down_keeps_no_server_from_serving(start, watched, connected, valkey):
    url = valkey.url()
    valkey.kill()
    server = start(url)
    assert server.logged("cannot announce this server in the registry ")
    assert connected(server.endpoint).call("whoami") == server.process.pid
    valkey.start()
    watched(url).until(server.endpoint)
    assert server.logged("this server is announced in the registry ")
    assert server.log.count("cannot announce") == 1
    assert server.stop() == 0
    assert listed(url) == []


def test_a_store_that_goes_down_keeps_no_server_from_ending(start, valkey):
    url = valkey.url()
    server = start(url)
    eventually(lambda: listed(url))
    valkey.kill()
    assert server.stop() == 0


def test_each_of_many_processes_is_there_and_their_endpoint_once(
    start, watched, announced, sqlite_url
):
    announced(sqlite_url, OTHER)
    watch = watched(sqlite_url)
    server = start(
        sqlite_url,
        "--processes",
        "2",
        "--zone",
        "north",
        "--advertise",
        "tcp://127.0.0.1:*",
        bind=("tcp://0.0.0.0:*",),
    )
    here = server.endpoint.replace("0.0.0.0", "127.0.0.1")
    watch.until(OTHER, here)
    eventually(lambda: len(listed(sqlite_url)) == 3)
    rows = [row for row in listed(sqlite_url) if row.endpoint == here]
    assert [row.zone for row in rows] == ["north"] * 2
    killed, other = (row.process for row in rows)
    os.kill(killed, signal.SIGKILL)

    def replaced():
        pids = {row.process for row in listed(sqlite_url) if row.endpoint == here}
        return len(pids) == 2 and other in pids and killed not in pids

    eventually(replaced)
    assert server.stop() == 0
    watch.until(OTHER)
    assert watch.lists == [[OTHER], sorted([OTHER, here]), [OTHER]]


def test_what_a_row_says(start, url):
    options = ["--service-name", "sums", "--role", "primary", "--zone", "north", "--weight", "2.5"]
    with start(url, *options, backend="threading") as server:
        eventually(lambda: listed(url))
        (row,) = listed(of_service(url, "sums"))
        assert (row.service, row.endpoint, row.state) == ("sums", server.endpoint, "serving")
        assert (row.role, row.zone, row.weight, row.backend) == (
            "primary",
            "north",
            2.5,
            "threading",
        )
        assert (row.version, row.process) == (ringback.__version__, server.process.pid)
        assert 0 < row.since <= row.renewed
        assert listed(of_service(url)) == []


@pytest.mark.parametrize("port", ["*", "0"])
def test_an_embedded_server_is_there_between_its_start_and_its_end_each_time(
    sqlite_url, watched, port
):
    server = ringback.Server(
        calc,
        [f"tcp://0.0.0.0:{port}"],
        backend="threading",
        register=sqlite_url,
        advertise=f"tcp://127.0.0.1:{port}",
    )
    for _ in range(2):
        with server:
            here = server.endpoint.replace("0.0.0.0", "127.0.0.1")
            eventually(lambda here=here: [row.endpoint for row in listed(sqlite_url)] == [here])
            with ringback.connect(here) as client:
                assert client.call("add", 1, 2) == 3
        assert listed(sqlite_url) == []


def test_a_server_whose_start_fails_is_never_there(sqlite_url, watched, announced):
    watch = watched(sqlite_url)
    with (
        ringback.Server(calc, "tcp://127.0.0.1:*", backend="threading") as server,
        pytest.raises(UsageError, match="is in use"),
    ):
        ringback.Server(calc, server.endpoint, backend="threading", register=sqlite_url).__enter__()
    announced(sqlite_url, OTHER)
    watch.until(OTHER)
    assert watch.lists == [[OTHER]]


REGISTER = {"register": "sqlite:///registry.db"}


@pytest.mark.parametrize(
    ("bind", "options", "says"),
    [
        (
            "tcp://0.0.0.0:5555",
            REGISTER,
            "tcp://0.0.0.0:5555 is all addresses of this machine: set advertise to the one",
        ),
        ("tcp://*:5555", REGISTER, "tcp://*:5555 is all addresses"),
        ("tcp://[::]:5555", REGISTER, "tcp://[::]:5555 is all addresses"),
        (
            "tcp://127.0.0.1:5555",
            {**REGISTER, "advertise": "tcp://0.0.0.0:5555"},
            "cannot be announced: it is all addresses",
        ),
        ("inproc://calc", REGISTER, "inproc://calc cannot be announced"),
        (
            "tcp://0.0.0.0:*",
            {**REGISTER, "advertise": ["inproc://calc"]},
            "inproc://calc cannot be announced",
        ),
        ("tcp://0.0.0.0:*", {**REGISTER, "advertise": ["10.0.0.7"]}, "bad endpoint '10.0.0.7'"),
        (
            "ipc:///tmp/calc",
            {**REGISTER, "advertise": ["tcp://10.0.0.7:*"]},
            "port * in advertise needs exactly one bound port",
        ),
        (
            ["tcp://10.0.0.7:*", "tcp://10.0.0.8:*"],
            {**REGISTER, "advertise": "tcp://10.0.0.7:*"},
            "port * in advertise",
        ),
        (
            ["tcp://10.0.0.7:0", "tcp://10.0.0.8:0"],
            {**REGISTER, "advertise": "tcp://10.0.0.7:0"},
            "port * in advertise",
        ),
        (
            "tcp://127.0.0.1:*",
            {"service_name": "sums"},
            "service_name is for a server that announces itself: give register too",
        ),
        (
            "tcp://127.0.0.1:*",
            {"advertise": "tcp://10.0.0.7:1"},
            "advertise is for a server that announces itself",
        ),
        ("tcp://127.0.0.1:*", {"register": "valkey"}, "register must be the URL of a registry"),
    ],
)
def test_what_cannot_be_announced_is_told_at_once(bind, options, says):
    with pytest.raises(UsageError) as caught:
        ringback.Server(calc, bind, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("more", [[], ["--processes", "2"]], ids=["one", "many"])
def test_a_registry_that_is_none_keeps_a_server_from_its_start(run_program, tmp_path, more):
    (tmp_path / "calc.py").write_text(SERVICE)
    command = ["-m", "ringback.server", "calc.py:service", "--bind", "tcp://127.0.0.1:*", *more]
    ran = run_program(*command, "--register", "http://host")
    assert (ran.status, ran.out) == (3, "")
    assert "ringback: http://host is not a registry: give the URL of a state store" in ran.err


# ringback servers


def test_the_servers_of_a_service_are_listed_one_a_line(url, announced, run_program):
    announced(url, OTHER, zone="north", role="primary", weight=2, backend="gevent")
    announced(url, "ipc:///tmp/calc")
    announced(url, "tcp://127.0.0.1:7", service="sums")
    ran = run_program("-m", "ringback", "servers", of_service(url))
    assert ran.status == 0
    assert [line.split() for line in ran.lines[:1]] == [
        ["service", "endpoint", "state", "role", "zone", "weight", "backend", "renewed"]
    ]
    assert [line.split()[:7] for line in ran.lines[1:]] == [
        ["calc", "ipc:///tmp/calc", "serving", "-", "-", "1", "-"],
        ["calc", OTHER, "serving", "primary", "north", "2", "gevent"],
    ]
    assert all(line.endswith(" s ago") for line in ran.lines[1:])


def test_the_servers_of_all_services_are_listed_as_json(sqlite_url, announced, run_program):
    announced(sqlite_url, OTHER, zone="north")
    announced(sqlite_url, "tcp://127.0.0.1:7", service="a/b")
    ran = run_program("-m", "ringback", "servers", sqlite_url, "--json")
    rows = json.loads(ran.out)
    assert [(row["service"], row["endpoint"], row["zone"]) for row in rows] == [
        ("a/b", "tcp://127.0.0.1:7", ""),
        ("calc", OTHER, "north"),
    ]
    assert all(0 <= row["age"] < SOON for row in rows)


def test_no_server_at_all_is_said_beside_the_output(sqlite_url, run_program):
    ran = run_program("-m", "ringback", "servers", sqlite_url)
    assert (ran.status, ran.out, ran.err) == (0, "", "ringback: no server is announced there\n")
    assert json.loads(run_program("-m", "ringback", "servers", sqlite_url, "--json").out) == []


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:5555", "calc", "dns://host:5555"])
def test_what_is_no_registry_has_no_servers(url, run_program):
    ran = run_program("-m", "ringback", "servers", url)
    assert (ran.status, ran.out) == (1, "")
    assert "is not a registry" in ran.err
    assert ran.err.count("\n") == 1


def test_a_store_that_does_not_answer_is_one_line(valkey, run_program):
    valkey.kill()
    ran = run_program("-m", "ringback", "servers", valkey.url())
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("ringback: UNAVAILABLE: the state store valkey://127.0.0.1:")
    assert ran.err.count("\n") == 1


def test_no_control_character_of_a_registry_reaches_the_terminal(
    run_program, announced, sqlite_url
):
    announced(sqlite_url, OTHER, zone="\x1b[31m\x9b\u202e")
    ran = run_program("-m", "ringback", "servers", sqlite_url)
    assert ran.status == 0, ran
    assert r"\x1b[31m\x9b\u202e" in ran.out
