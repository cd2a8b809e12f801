"""Handlers that do what nobody should: their caller gets an error, every other call its answer, and
the server lives and ends well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from processes import ServerProcess
from ringback import errors
from ringback.clients.threading import connect

SERVICE = """
import asyncio

import ringback

service = ringback.Service("misbehaving")


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


def returns(value):
    return value


def raises(error):
    raise error


ACTS = {
    "a_big_integer_as_a_key": lambda: returns({2**70: 1}),
    "a_lone_surrogate": lambda: returns("\\ud800"),
    "a_cycle": lambda: returns(cycle),
    "a_mute_error": lambda: raises(Mute()),
    "an_error_with_a_lone_surrogate": lambda: raises(ValueError("\\ud800")),
    "an_error_of_20_MB": lambda: raises(ValueError("x" * 20_000_000)),
    "SystemExit": lambda: raises(SystemExit(3)),
    "KeyboardInterrupt": lambda: raises(KeyboardInterrupt()),
    "GeneratorExit": lambda: raises(GeneratorExit()),
    "StopIteration": lambda: raises(StopIteration("text")),
    "CancelledError": lambda: raises(asyncio.CancelledError()),
}
cycle = []
cycle.append(cycle)


@service.method
def worker(act: str):
    return ACTS[act]()


@service.method(inline=True)
def inline(act: str):
    return ACTS[act]()


@service.method
async def coroutine(act: str):
    return ACTS[act]()


@service.method
def stream(act: str):
    yield ACTS[act]()


@service.method
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds
"""

ACTS = [
    "a_big_integer_as_a_key",
    "a_lone_surrogate",
    "a_cycle",
    "a_mute_error",
    "an_error_with_a_lone_surrogate",
    "an_error_of_20_MB",
    "SystemExit",
    "KeyboardInterrupt",
    "GeneratorExit",
    "StopIteration",
    "CancelledError",
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ServerProcess]]:
    """`servers(backend)`: the one of that backend, or a new one where a test has done it harm; all
    must end with status 0.
    """
    path = tmp_path_factory.mktemp("service") / "misbehaving.py"
    path.write_text(SERVICE)
    running: dict[str, ServerProcess] = {}

    def get(backend: str) -> ServerProcess:
        server = running.get(backend)
        if server is None or not _answers(server):
            if server is not None:
                server.kill()
            running[backend] = server = ServerProcess(backend, path=path)
        return server

    yield get
    try:
        assert [server.stop() for server in running.values()] == [0] * len(running)
    finally:
        for server in running.values():
            server.kill()


def _answers(server: ServerProcess) -> bool:
    with connect(server.endpoint, timeout=2) as client:
        try:
            return client.call("nap", 0) == 0
        except errors.CallError:
            return False


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", ["worker", "inline", "coroutine", "stream"])
def test_a_handler_that_misbehaves_gives_its_caller_an_error_and_harms_nobody(
    servers, connected, backend, kind, act
):
    server = servers(backend)
    client, other = connected(server.endpoint, timeout=4), connected(server.endpoint, timeout=4)
    bystander = client.fire("nap", 0.05)
    with pytest.raises(errors.CallError) as caught:
        list(client.stream(kind, act)) if kind == "stream" else client.call(kind, act)
    assert not isinstance(caught.value, (errors.DeadlineExceeded, errors.Unavailable))
    assert bystander.result(5) == 0.05
    assert client.call("nap", 0) == 0
    assert other.call("ringback.ping") == "pong"
