"""What may be registered as a handler, and of which kind it is: that of what was registered, not of
what that wraps.
"""

from __future__ import annotations

import functools
import math
import operator

import pytest
import ringback
from ringback.errors import UsageError


def add(a: int, b: int = 1) -> int:
    return a + b


def count(n: int):
    yield from range(n)


class Scaled:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, a: int) -> int:
        return a * self.by

    @staticmethod
    def static(a: int) -> int:
        return a

    @classmethod
    def of_class(cls, a: int) -> int:
        return a

    def bound(self, a: int) -> int:
        return a * self.by


class Awaited:
    async def __call__(self, a: int) -> int:
        return a


@functools.wraps(add)
async def made_async(*args, **kwargs):
    return add(*args, **kwargs)


@functools.wraps(count)
def made_a_list(*args, **kwargs):
    return list(count(*args, **kwargs))


@functools.wraps(add)
def made_a_stream(*args, **kwargs):
    yield add(*args, **kwargs)


# What is registered, with arguments for it and what comes of them.
HANDLERS = {
    "partial": (functools.partial(add, 1), (2,), 3),
    "partial_of_a_coroutine": (functools.partial(made_async, 1), (2,), 3),
    "partial_of_a_generator": (functools.partial(count, 3), (), [0, 1, 2]),
    "object": (Scaled(3), (2,), 6),
    "async_object": (Awaited(), (2,), 2),
    "static": (Scaled.static, (2,), 2),
    "of_class": (Scaled.of_class, (2,), 2),
    "bound": (Scaled(3).bound, (2,), 6),
    "builtin": (operator.add, (1, 2), 3),
    "root": (math.sqrt, (4,), 2.0),
    "remembered": (functools.cache(add), (1, 2), 3),
    "made_async": (made_async, (1, 2), 3),
    "made_a_list": (made_a_list, (3,), [0, 1, 2]),
    "made_a_stream": (made_a_stream, (1, 2), [3]),
}


@pytest.fixture(scope="module")
def client():
    service = ringback.Service("kinds")
    for name, (handler, _, _) in HANDLERS.items():
        service.method(name=name)(handler)
    with (
        ringback.Server(service, "tcp://127.0.0.1:*", backend="threading") as server,
        ringback.connect(server.endpoint, timeout=5) as connected,
    ):
        yield connected


@pytest.mark.parametrize("name", HANDLERS)
def test_whatever_can_be_called_is_served_as_what_it_is(client, name):
    _, given, expected = HANDLERS[name]
    streams = name in ("partial_of_a_generator", "made_a_stream")
    assert (list(client.stream(name, *given)) if streams else client.call(name, *given)) == expected


@pytest.mark.parametrize("name", ["partial", "object", "made_async", "made_a_list"])
def test_its_arguments_are_checked(client, name):
    with pytest.raises(ringback.errors.InvalidArgument, match="Expected `int`, got `str`"):
        client.call(name, "2")


def test_what_is_wrapped_for_deferreds_is_a_plain_function(start_server, connected, tmp_path):
    path = tmp_path / "wrapped.py"
    path.write_text(
        """
import ringback
from twisted.internet import reactor, task
from twisted.internet.defer import inlineCallbacks

service = ringback.Service("wrapped")


@service.method(inline=True)
@inlineCallbacks
def later(value: int):
    yield task.deferLater(reactor, 0.01)
    return value + 1
"""
    )
    server = start_server("twisted", path=path)
    assert connected(server.endpoint, timeout=5).call("later", 1) == 2


@pytest.mark.parametrize("handler", [int, max, functools.partial(max)])
def test_what_does_not_tell_its_parameters_is_refused_when_it_is_registered(handler):
    with pytest.raises(UsageError, match=r"the parameters of .* are unknown"):
        ringback.Service("kinds").method(name="it")(handler)


@pytest.mark.parametrize("name", ["\ud800", "x" * 5000])
def test_a_name_that_cannot_be_sent_is_refused(name):
    with pytest.raises(UsageError, match="the name of a"):
        ringback.Service(name)
    with pytest.raises(UsageError, match="the name of a"):
        ringback.Service("kinds").method(name=name)(add)
