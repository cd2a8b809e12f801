"""What is over a limit is refused or cut off, and what is within it is served; the server lives on."""

from __future__ import annotations

import pytest
import ringback
from asking import asking
from msgspec import Raw
from ringback import errors
from ringback.clients.threading import connect
from ringback.protocol.messages import Call, Fault, Ping, Pong

MANY = 600_000


def test_a_call_with_too_many_elements_is_refused_and_its_client_goes_on(start_server, connected, backend):
    server = start_server(backend, "service", "--max-elements", str(MANY))
    client = connected(server.endpoint)
    assert len(client.call("echo", [0] * (MANY - 100))) == MANY - 100
    for method in ("echo", "echo_async"):
        with pytest.raises(errors.ResourceExhausted, match=f"more than {MANY:,} elements"):
            client.call(method, [[]] * MANY)
    with pytest.raises(errors.ResourceExhausted):
        client.call("echo", value=[0] * MANY)
    with pytest.raises(errors.ResourceExhausted):
        list(client.stream("count", [0] * MANY))
    client.notify("echo", [0] * MANY)
    assert server.logged("dropped: the arguments have more than")
    assert client.call("add", 1, 2) == 3
    assert server.stop() == 0


def test_a_batch_of_too_many_messages_is_a_fault_and_one_at_the_bound_is_not(
    start_server, connected, backend
):
    server = start_server(backend)
    ping = b"\x92\x0c\x05"
    with asking(server.endpoint) as client:
        client.socket.send(b"RBK\x01\xdd" + (65_536).to_bytes(4, "big") + ping * 65_536)
        assert client.next() == Pong(5)
    with asking(server.endpoint) as client:
        client.socket.send(b"RBK\x01\xdd" + (65_537).to_bytes(4, "big") + ping * 65_537)
        assert client.next() == Fault("a batch of more than 65,536 messages")
    assert connected(server.endpoint).call("add", 1, 2) == 3


def test_deep_and_huge_values_spoil_their_own_call_at_most(start_server, backend):
    server = start_server(backend)
    with asking(server.endpoint) as client:
        client.say(Call(1, "echo", Raw(b"\x91\xc0")), Ping(3))
        assert {type(client.next()).__name__ for _ in range(2)} == {"Reply", "Pong"}
    for args in (
        b"\x91" * 100_000 + b"\xc0",
        b"\x91\xdd\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x91\xdb\xff\xff\xff\xff",
    ):
        with asking(server.endpoint) as client:
            client.socket.send(b"RBK\x01\x91\x94\x03\x01\xa4echo" + args)
            assert isinstance(client.next(), Fault)
    with asking(server.endpoint) as client:
        client.say(Call(1, "echo", Raw(b"\x91\xc0")))
        assert client.next().id == 1


def test_limits_are_options_of_the_command(start_server, connected, backend):
    options = ("--max-size", "100000", "--max-in-flight", "1", "--max-bytes-in-flight", "1000")
    client = connected(start_server(backend, "service", *options).endpoint)
    assert len(client.call("echo", "x" * 90_000)) == 90_000
    with pytest.raises(errors.ResourceExhausted, match="takes 100,000"):
        client.call("echo", "x" * 110_000)
    held = client.fire("hold", f"limits {backend}")
    with pytest.raises(errors.ResourceExhausted, match="1 calls in flight"):
        client.call("nap", 0)
    held.cancel()


def test_a_service_of_more_methods_than_can_be_told_does_not_start():
    service = ringback.Service("many")
    for number in range(40_000):
        service.method(_nothing, name=f"method.{number}")
    with pytest.raises(
        errors.UsageError, match=r"service 'many' has 40,002 methods: .* 524,288 at most"
    ) as caught:
        ringback.Server(service, "tcp://127.0.0.1:*", backend="threading").__enter__()
    assert "\n" not in str(caught.value)


def test_a_client_that_takes_little_is_welcomed_by_a_service_of_many_methods():
    service = ringback.Service("many")
    for number in range(20_000):
        service.method(_nothing, name=f"method.{number}")
    options = {"backend": "threading"}
    with (
        ringback.Server(service, "tcp://127.0.0.1:*", **options) as server,
        connect(server.endpoint, max_size=65_536) as client,
    ):
        assert client.call("method.19999") is None


@pytest.mark.parametrize("option", [{"max_elements": 100}, {"max_size": 100}])
def test_a_limit_that_is_too_small_is_refused_at_the_start(option):
    service = ringback.Service("few")
    with pytest.raises(errors.UsageError, match=f"{next(iter(option))} must be at least"):
        ringback.Server(service, "tcp://127.0.0.1:*", backend="threading", **option).__enter__()


def _nothing() -> None:
    """Does nothing."""
