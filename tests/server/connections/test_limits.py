"""What is over a limit is refused or cut off, and what is within it is served; the server lives on."""

from __future__ import annotations

import socket
from concurrent.futures import Future
from contextlib import ExitStack, suppress

import pytest
import ringback
from asking import asking
from msgspec import Raw
from processes import SOON
from raw import by_hand
from ringback import errors
from ringback.clients.threading import connect
from ringback.protocol.messages import Call, Fault, Ping, Pong

MANY = 600_000


def test_a_call_with_too_many_elements_is_refused_and_its_client_goes_on(
    start_server, connected, backend
):
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


def test_one_client_cannot_fill_the_server(start_server, connected, backend):
    greedy, other = map(
        connected, [start_server(backend, "service", "--max-in-flight", "20").endpoint] * 2
    )
    key = f"greedy {backend}"
    held = [greedy.fire("hold", key, errback=lambda _: None) for _ in range(30)]
    for refused in held[18:]:
        with pytest.raises(
            errors.ResourceExhausted, match="this client has 18 of the 18 calls in flight"
        ):
            refused.result(SOON)
    assert other.call("add", 1, 2) == 3
    assert not any(each.done() for each in held[:18])
    for each in held:
        each.cancel()


def test_inline_functions_that_return_futures_cannot_take_all_places():
    service, futures = ringback.Service("later"), []

    @service.method(inline=True)
    def later() -> Future[int]:
        futures.append(Future())
        return futures[-1]

    with (
        ringback.Server(
            service, "tcp://127.0.0.1:*", backend="threading", max_in_flight=10
        ) as server,
        connect(server.endpoint) as client,
    ):
        calls = [client.fire("later", errback=lambda _: None) for _ in range(30)]
        for refused in calls[9:]:
            with pytest.raises(
                errors.ResourceExhausted, match="this client has 9 of the 9 calls in flight"
            ):
                refused.result(SOON)
        for future in futures:
            future.set_result(1)
        assert [call.result(SOON) for call in calls[:9]] == [1] * 9


def test_clients_keep_to_what_the_server_takes_in_a_batch(start_server, connected, backend):
    options = ("--max-messages", "4", "--max-frames", "2")
    server = start_server(backend, "service", *options)
    client = connected(server.endpoint)
    assert [each.result(SOON) for each in [client.fire("add", n, 1) for n in range(100)]] == [
        *range(1, 101)
    ]
    large = [bytes(65_536), b"a" * 65_536, b"b" * 65_536]
    assert client.call("echo", large) == large
    with asking(server.endpoint) as peer:
        assert (peer.welcome.max_messages, peer.welcome.max_frames) == (4, 2)
        peer.say(*[Ping(n) for n in range(5)])
        assert peer.next() == Fault("a batch of more than 4 messages")


def test_who_says_nothing_makes_room_for_others(start_server, connected, backend):
    server = start_server(backend, "service", "--max-connections", "5")
    client = connected(server.endpoint)
    assert client.call("add", 1, 2) == 3
    with ExitStack() as stack:
        silent = [stack.enter_context(by_hand(server.endpoint, handshake=False)) for _ in range(20)]
        for each in silent[:16]:
            assert ended(each)
        assert connected(server.endpoint).call("add", 1, 2) == 3
        assert client.call("add", 1, 2) == 3
    assert server.logged("reached its limit of connections")


def test_who_has_spoken_is_not_sent_away_for_others(start_server, connected, backend):
    server = start_server(backend, "service", "--max-connections", "3")
    with asking(server.endpoint), asking(server.endpoint), asking(server.endpoint) as last:
        assert turned_away(server.endpoint)
        last.say(Ping(1))
        assert last.next() == Pong(1)
    assert connected(server.endpoint).call("add", 1, 2) == 3


def ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection in time. (It sends its greeting before.)"""
    with suppress(ConnectionError):
        while connection.recv(1000):
            pass
    return True


def turned_away(endpoint: str) -> bool:
    """Whether the server ends a new connection in time."""
    # A server may be faster than this process: then `connect` reports the reset (EPIPE,
    # ECONNRESET).
    with (
        suppress(BrokenPipeError, ConnectionResetError),
        by_hand(endpoint, handshake=False) as late,
    ):
        return ended(late)
    return True


def test_a_service_of_more_methods_than_can_be_told_does_not_start():
    service = ringback.Service("many")
    for number in range(40_000):
        service.method(_nothing, name=f"method.{number}")
    with pytest.raises(
        errors.UsageError, match=r"service 'many' has 40,002 methods: .* the limit is 524,288"
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


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"max_elements": 100}, "a whole number, 524,288 or more, not 100"),
        ({"max_size": 100}, "a whole number of bytes, 65,536 or more, not 100"),
        ({"max_messages": 0}, "a whole number, at least 1 and at most 65,536, not 0"),
        ({"max_messages": 65_537}, "a whole number, at least 1 and at most 65,536, not 65537"),
        ({"max_frames": 1025}, "a whole number, at least 1 and at most 1,024, not 1025"),
        ({"max_connections": 0}, "a whole number, 1 or more, not 0"),
        ({"max_in_flight": 1.5}, "a whole number, 1 or more, not 1.5"),
        ({"drain_timeout": None}, "a number of seconds, 0 or more, not None"),
        ({"drain_timeout": float("nan")}, "a number of seconds, 0 or more, not nan"),
        ({"drain_timeout": -1}, "a number of seconds, 0 or more, not -1"),
    ],
    ids=repr,
)
def test_a_limit_that_cannot_be_kept_is_refused(option, says):
    with pytest.raises(errors.UsageError, match=f"^{next(iter(option))} must be {says}$"):
        ringback.Server(ringback.Service("few"), backend="threading", **option)


def _nothing() -> None:
    """Does nothing."""
