"""Ends on different transports understand each other: every client style and every backend, over
tcp, IPv6 and ipc, either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from processes import SOON, ServerProcess
from styles import STYLES, Items, Script, Together

MIB = 1024 * 1024
ADDRESSES = ("tcp", "ipv6", "ipc")


@pytest.fixture(scope="session")
def serving(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str, str], ServerProcess]]:
    """`serving(backend, transport)`: a server at all kinds of addresses."""
    servers: dict[tuple[str, str], ServerProcess] = {}

    def get(backend: str, transport: str) -> ServerProcess:
        if (backend, transport) not in servers:
            path = tmp_path_factory.mktemp("paths") / "socket"
            places = ("tcp://127.0.0.1:*", "tcp://[::1]:*", f"ipc://{path}")
            options = ("--transport", transport)
            servers[backend, transport] = ServerProcess(backend, "service", *options, bind=places)
        return servers[backend, transport]

    yield get
    for server in servers.values():
        assert server.stop() == 0
        server.kill()


PAIRS = [
    pytest.param(
        style, calling, served, address, id=f"{style}-client-{calling}-to-{served}-over-{address}"
    )
    for style in STYLES
    for calling, served in (("native", "native"), ("native", "libzmq"), ("libzmq", "native"))
    for address in ADDRESSES
]


@pytest.mark.parametrize(("style", "calling", "served", "address"), PAIRS)
def test_a_conversation(
    style: str, calling: str, served: str, address: str, backend: str, serving: Any
) -> None:
    end = STYLES[style]()
    endpoint = serving(backend, served).endpoints[ADDRESSES.index(address)]

    def script() -> Script:
        client = end.connect(endpoint, transport=calling, timeout=SOON)
        try:
            assert (yield client.call("add", 1, 2)) == 3
            assert (
                yield Together(*[lambda n=n: client.call("echo_async", n) for n in range(100)])
            ) == list(range(100))
            for size in (0, 1, 70_000, 3 * MIB):
                assert (yield client.call("echo", [b"x" * size, b"y" * size])) == [
                    b"x" * size,
                    b"y" * size,
                ]
            assert (yield Items(client.stream("sized", [1, 100_000, 2]))) == [
                bytes(1),
                bytes(100_000),
                bytes(2),
            ]
            assert (yield client.call("sum_of", iter(range(1000)))) == sum(range(1000))
            with pytest.raises(Exception, match="it broke"):
                yield client.call("fail", "it broke")
            client.notify("echo", 1)
        finally:
            yield client.close()

    end.run(script)
