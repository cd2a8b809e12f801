"""Connections that are cut, slow, silent, truncated, doubled and garbled: calls end once, and the
client comes back.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import pytest
import ringback
from namespaces import Namespace, missing
from processes import SOON
from proxy import Proxy, doubled, garbled, truncated
from ringback import errors
from sizes import FULL

CALLS = 300
# Seconds that a call may take, and by which its end may be late on a busy machine.
TIMEOUT, LATE = 2.0, 0.5


@pytest.fixture
def proxy(start_server, backend):
    with Proxy(start_server(backend).endpoint) as between:
        yield between


@pytest.fixture
def client(proxy):
    with ringback.connect(proxy.endpoint, timeout=TIMEOUT) as connected:
        assert connected.call("echo", 0) == 0
        yield connected


def outcomes(client, during) -> Counter[str]:
    """How calls end that are made meanwhile: each of them once, and in its time."""
    seen: list[tuple[int, str]] = []
    late: list[float] = []
    futures = []

    def ended(number: int, outcome: str, due: float) -> None:
        seen.append((number, outcome))
        late.append(time.monotonic() - due)

    for number in range(CALLS):
        due = time.monotonic() + TIMEOUT
        futures.append(
            client.fire(
                "echo",
                number,
                callback=lambda result, number=number, due=due: ended(
                    number, "right" if result == number else "wrong", due
                ),
                errback=lambda error, number=number, due=due: ended(
                    number, type(error).__name__, due
                ),
            )
        )
        if number % 50 == 25:
            during()
            time.sleep(0.02)
    for future in futures:
        try:
            future.result(SOON)
        except errors.CallError:
            pass
    client.close(timeout=SOON)
    assert sorted(number for number, _ in seen) == list(range(CALLS)), (
        "not every call has ended once"
    )
    assert max(late) < LATE, f"a call ended {max(late):.2f} s after its time"
    return Counter(outcome for _, outcome in seen)


def test_connections_that_are_cut(proxy, client):
    seen = outcomes(client, proxy.cut)
    assert set(seen) <= {"right", "Unavailable"}
    assert seen["right"] > 0


def test_a_slow_connection_costs_no_call(proxy, client):
    proxy.pause = 0.02
    assert outcomes(client, lambda: None) == {"right": CALLS}


@pytest.mark.parametrize("change", [truncated, doubled, garbled])
@pytest.mark.parametrize("way", ["change", "back"])
def test_bytes_that_are_not_what_was_sent(proxy, client, change, way):
    """What TCP's checksum should have caught. No call is lost, and neither end is harmed; only
    where bytes
    have become others may a call be another call, or an answer another answer."""
    setattr(proxy, way, change)
    seen = outcomes(client, lambda: None)
    proxy.change = proxy.back = None
    proxy.cut()
    with ringback.connect(proxy.endpoint, timeout=SOON) as other:
        assert other.call("echo", "still here") == "still here"
    if change is not garbled:
        assert set(seen) <= {"right", "Unavailable", "ProtocolError", "DeadlineExceeded"}


def test_a_link_that_goes_silent_ends_calls_at_their_deadline(proxy, client):
    proxy.silent = True
    begun = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        client.options(timeout=0.5).call("echo", 1)
    assert time.monotonic() - begun < 1.5


@pytest.fixture
def namespace():
    what = missing()
    if what:
        pytest.skip(f"this test needs {what}")
    with Namespace() as made:
        yield made


def test_packets_that_are_dropped_cost_the_calls_of_that_time_alone(
    namespace, start_server, connected, backend, capsys
):
    """No end of the connection is told: only deadlines, and after 20 s heartbeats, know of it."""
    server = start_server(backend, bind=(f"tcp://{namespace.there}:*",), inside=namespace.words)
    client = connected(server.endpoint)
    assert client.call("add", 1, 2) == 3
    patient = client.options(timeout=None).fire("nap", 60.0, errback=lambda _: None)
    namespace.drop()
    begun = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        client.options(timeout=0.5).call("add", 1, 2)
    assert 0.5 <= time.monotonic() - begun < 0.5 + LATE
    if FULL:
        with pytest.raises(errors.Unavailable):
            patient.result(30)
        with capsys.disabled():
            print(f"\n{backend}: dropped packets noticed after {time.monotonic() - begun:.1f} s")
        assert time.monotonic() - begun < 21
    namespace.deliver()
    begun = time.monotonic()
    assert client.options(timeout=SOON).call("add", 1, 2) == 3
    assert time.monotonic() - begun < 5
    patient.cancel()
    assert server.stop() == 0


def test_a_client_comes_back_after_its_connection_was_cut(proxy, client):
    for number in range(5):
        proxy.cut()
        deadline = time.monotonic() + SOON
        while True:
            try:
                assert client.call("echo", number) == number
                break
            except errors.Unavailable:
                assert time.monotonic() < deadline


# In namespaces of its own: a name with an IPv6 address alone, and a server there.
IPV6_ALONE = """
import subprocess, sys
from pathlib import Path

import ringback

hosts = Path("hosts")
hosts.write_text("127.0.0.1 localhost\\nfd00::5 only6\\n")
for command in ("mount --bind hosts /etc/hosts", "ip link set lo up", "ip addr add fd00::5/128 dev lo nodad"):
    subprocess.run(command.split(), check=True)
service = ringback.Service("six")


@service.method
def add(a: int, b: int) -> int:
    return a + b


with ringback.Server(service, "tcp://[fd00::5]:*", backend="threading", insecure=True) as server:
    endpoint = f"tcp://only6:{server.endpoint.rpartition(':')[2]}"
    for style in sys.argv[1:]:
        command = [sys.executable, "-m", "ringback", "call", endpoint, "add", "1", "2", "--client", style]
        subprocess.run(command, check=True)
"""


def test_a_name_with_an_ipv6_address_alone_is_found(tmp_path):
    what = missing()
    if what:
        pytest.skip(f"this test needs {what}")
    styles = ("threading", "gevent", "asyncio", "twisted")
    ended = subprocess.run(
        ["unshare", "--mount", "--net", sys.executable, "-c", IPV6_ALONE, *styles],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "3\n" * len(styles)), ended
