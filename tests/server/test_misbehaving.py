"""Handlers that do what nobody should: their caller gets an error, every other call its answer, and the server lives and ends well."""

from __future__ import annotations

from pathlib import Path

import pytest
from ringback import errors

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


@pytest.fixture
def server(start_server, backend, tmp_path: Path):
    path = tmp_path / "misbehaving.py"
    path.write_text(SERVICE)
    return start_server(backend, path=path)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", ["worker", "inline", "coroutine"])
def test_a_handler_that_misbehaves_gives_its_caller_an_error_and_harms_nobody(server, connected, kind, act):
    client, other = connected(server.endpoint, timeout=5), connected(server.endpoint, timeout=5)
    bystander = client.fire("nap", 0.1)
    with pytest.raises(errors.CallError) as caught:
        client.call(kind, act)
    assert not isinstance(caught.value, (errors.DeadlineExceeded, errors.Unavailable))
    assert bystander.result(5) == 0.1
    assert client.call("nap", 0) == 0
    assert other.call("ringback.ping") == "pong"
    client.close(), other.close()
    assert server.stop() == 0


@pytest.mark.parametrize("act", ACTS)
def test_a_stream_that_misbehaves_ends_with_an_error_and_harms_nobody(server, connected, act):
    client = connected(server.endpoint, timeout=5)
    with pytest.raises(errors.CallError) as caught:
        list(client.stream("stream", act))
    assert not isinstance(caught.value, (errors.DeadlineExceeded, errors.Unavailable))
    assert client.call("nap", 0) == 0
    client.close()
    assert server.stop() == 0
