"""`client.typed(Protocol)`: calls, streams and results as the Protocol has them, and a word at once
for a Protocol that cannot be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Queue
from typing import Any, Protocol, TypeVar, overload

import pytest
import ringback
import ringback.clients.asyncio
from ringback.clients.gevent import FiredFuture, GeventClient
from ringback.clients.threading import connect
from ringback.clients.twisted import TwistedClient
from ringback.errors import UsageError
from ringback.testing import serving
from twisted.internet.defer import Deferred

service = ringback.Service("shop")
T = TypeVar("T")


@dataclass
class Order:
    item: str
    amount: int = 1


@service.method
def add(a: int, b: int) -> int:
    return a + b


@service.method
def order(item: str, amount: int = 1) -> Order:
    return Order(item, amount)


@service.method
def count(n: int) -> Iterator[Order]:
    for number in range(n):
        yield Order("tea", number)


@service.method(name="accounts.close")
def close(name: str) -> list[str]:
    return [name]


class Accounts(Protocol):
    def close(self, name: str) -> tuple[str, ...]: ...


class Shop(Protocol):
    accounts: Accounts

    def add(self, a: int, b: int) -> int: ...
    def order(self, item: str, *, amount: int = 1) -> Order: ...
    def count(self, n: int) -> Iterator[Order]: ...
    def _own(self) -> None: ...


class ShopOnAsyncio(Protocol):
    async def order(self, item: str, *, amount: int = 1) -> Order: ...
    def count(self, n: int) -> AsyncIterator[Order]: ...


class ShopOnTwisted(Protocol):
    def order(self, item: str, *, amount: int = 1) -> Deferred[Order]: ...
    def count(self, n: int) -> AsyncIterator[Order]: ...


class FiredShop(Protocol):
    def order(
        self, item: str, *, amount: int = 1, callback: Callable[[Order], object] | None = None
    ) -> Future[Order]: ...
    def add(self, a: int, b: int) -> Future[int]: ...


class FiredShopOnGevent(Protocol):
    def order(self, item: str) -> FiredFuture[Order]: ...


class FiredShopOnAsyncio(Protocol):
    def order(
        self, item: str, *, callback: Callable[[Order], object] | None = None
    ) -> asyncio.Future[Order]: ...


class FiredShopOnTwisted(Protocol):
    def order(
        self, item: str, *, callback: Callable[[Order], object] | None = None
    ) -> Deferred[Order]: ...


def test_a_method_that_returns_a_future_is_fired() -> None:
    seen: Queue[Order] = Queue()
    with serving(service) as client:
        shop = client.typed(FiredShop)
        assert shop.order("tea", amount=2, callback=seen.put).result() == Order("tea", 2)
        assert seen.get(timeout=10) == Order("tea", 2)
        assert shop.add(1, 2).result() == 3
    with serving(service, client="gevent") as on_gevent:
        fired = on_gevent.typed(FiredShopOnGevent).order("tea")
        assert isinstance(fired, FiredFuture)
        assert fired.get() == Order("tea")

    async def main() -> None:
        async with serving(service, client="asyncio") as client:
            fired = client.typed(FiredShopOnAsyncio).order("tea", callback=seen.put)
            assert isinstance(fired, asyncio.Future)
            assert await fired == seen.get_nowait() == Order("tea")

    asyncio.run(main())


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_a_blocking_client_answers_as_the_protocol_says(style: Any) -> None:
    with serving(service, client=style) as client:
        shop = client.typed(Shop)
        assert shop.add(1, 2) == 3
        assert shop.order("tea", amount=2) == Order("tea", 2)
        assert list(shop.count(2)) == [Order("tea", 0), Order("tea", 1)]
        assert shop.accounts.close("ada") == ("ada",)
        assert not hasattr(shop, "_own")
        with pytest.raises(ringback.errors.InvalidArgument):
            shop.add(1, "two")  # type: ignore[arg-type]


def test_an_asyncio_client_answers_as_the_protocol_says() -> None:
    async def main() -> None:
        async with serving(service, client="asyncio") as client:
            shop = client.typed(ShopOnAsyncio)
            assert await shop.order("tea", amount=2) == Order("tea", 2)
            assert [each async for each in shop.count(2)] == [Order("tea", 0), Order("tea", 1)]

    asyncio.run(main())


ON_TWISTED = """
from ringback.testing import serving
from test_typed import FiredShopOnTwisted, Order, ShopOnTwisted, service
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

async def main():
    async with serving(service, client="twisted") as client:
        shop = client.typed(ShopOnTwisted)
        assert await shop.order("tea", amount=2) == Order("tea", 2)
        assert [each async for each in shop.count(2)] == [Order("tea", 0), Order("tea", 1)]
        seen = []
        assert await client.typed(FiredShopOnTwisted).order("tea", callback=seen.append) == Order("tea")
        assert seen == [Order("tea")]

task.react(lambda reactor: ensureDeferred(main()))
"""


def test_a_twisted_client_answers_as_the_protocol_says(run_program, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(__file__).rpartition("/")[0])
    ran = run_program("-c", ON_TWISTED)
    assert ran.status == 0, ran


def test_a_prompt_completes_the_methods_of_the_connected_servers() -> None:
    with serving(service) as client:
        assert dir(client.methods) == []  # it is not connected yet
        client.call("ringback.ping")
        assert set(dir(client.methods)) == {"accounts", "add", "count", "order", "ringback"}
        assert dir(client.methods.accounts) == ["close"]


def test_the_options_of_a_view_hold_for_what_is_typed() -> None:
    with serving(service) as client:
        client.call("ringback.ping")
        with pytest.raises(ringback.errors.DeadlineExceeded):
            client.options(timeout=0).typed(Shop).add(1, 2)


def test_a_view_that_is_refused_leaves_the_client_as_it_was() -> None:
    with serving(service) as client:
        assert client.call("add", 1, 2) == 3
        for wrong in ({"timeout": "x"}, {"nosuch": 1}):
            with pytest.raises(TypeError):
                client.options(**wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            client.typed(Wrong.Awaited)
        assert client.call("add", 1, 2) == 3


class ByProperty(Protocol):
    @property
    def accounts(self) -> Accounts: ...


def test_a_part_of_a_service_may_be_a_property() -> None:
    with serving(service) as client:
        assert client.typed(ByProperty).accounts.close("ada") == ("ada",)


class Plain:
    """No value that is sent."""


class Wrong:
    """Protocols that a client cannot be."""

    class Awaited(Protocol):
        async def add(self, a: int, b: int) -> int: ...

    class Plain(Protocol):
        def add(self, a: int, b: int) -> int: ...

    class AwaitedStream(Protocol):
        def count(self, n: int) -> AsyncIterator[int]: ...

    class PlainStream(Protocol):
        def count(self, n: int) -> Iterator[int]: ...

    class Deferring(Protocol):
        def add(self, a: int, b: int) -> Deferred[int]: ...

    class Attribute(Protocol):
        name: str

    class Overloaded(Protocol):
        @overload
        def add(self, a: int) -> int: ...
        @overload
        def add(self, a: str) -> str: ...

    class OfClass(Protocol):
        @classmethod
        def add(cls, a: int) -> int: ...

    class WithCallback(Protocol):
        def add(
            self, a: int, b: int, *, callback: Callable[[int], object] | None = None
        ) -> int: ...

    class AwaitedWithCallback(Protocol):
        async def add(self, *, errback: Callable[[Exception], object] | None = None) -> int: ...

    class Positional(Protocol):
        def order(
            self, item: str, callback: Callable[[Order], object] | None = None
        ) -> Future[Order]: ...

    class PerhapsFuture(Protocol):
        def order(self, item: str) -> Future[Order] | None: ...

    class AwaitedStreamToo(Protocol):
        async def count(self, n: int) -> AsyncIterator[int]: ...

    class Generic(Protocol[T]):
        def order(self, item: str) -> list[T]: ...

    class Unmet(Protocol):
        def count(self, n: int) -> Iterator[Plain]: ...

    class Unknown(Protocol):
        def add(self) -> Nowhere: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("kind", "protocol", "says"),
    [
        (
            connect,
            Wrong.Awaited,
            r"Awaited.add is not what this client answers with: write def add\(...\) -> T",
        ),
        (connect, Wrong.AwaitedStream, "AwaitedStream.count is not what this client answers with"),
        (connect, Wrong.Deferring, "Deferring.add is not what this client answers with"),
        (connect, Wrong.Unknown, "the annotations of Unknown.add cannot be read: NameError"),
        (
            connect,
            Wrong.Attribute,
            "Attribute.name is <class 'str'>: annotate a part of a service with a Protocol class",
        ),
        (connect, Wrong.Overloaded, "Overloaded.add is overloaded"),
        (connect, Wrong.OfClass, "OfClass.add is neither a method nor a part"),
        (connect, Wrong.Unmet, "Unmet.count: bad value for option 'returns'"),
        (connect, int, "typed.. needs a Protocol class, not <class 'int'>"),
        (connect, Wrong.WithCallback, r"to fire, def add\(..., \*, callback=...\) -> Future\[T\]"),
        (
            ringback.clients.asyncio.connect,
            Wrong.AwaitedWithCallback,
            "AwaitedWithCallback.add is not",
        ),
        (
            connect,
            Wrong.Positional,
            r"Positional.order is not .* to fire, def order\(..., \*, callback=...\)",
        ),
        (connect, Wrong.PerhapsFuture, "PerhapsFuture.order is not what this client answers with"),
        (connect, Wrong.Generic, "Generic.order returns a type variable"),
        (
            ringback.clients.asyncio.connect,
            Wrong.AwaitedStreamToo,
            "AwaitedStreamToo.count is not what",
        ),
        (GeventClient, Wrong.Awaited, "Awaited.add is not what this client answers with"),
        (
            ringback.clients.asyncio.connect,
            Wrong.Plain,
            r"Plain.add is not .*: write async def add\(...\) -> T",
        ),
        (ringback.clients.asyncio.connect, Wrong.PlainStream, "PlainStream.count is not"),
        (ringback.clients.asyncio.connect, Wrong.Deferring, "Deferring.add is not"),
        (TwistedClient, Wrong.Plain, r"Plain.add is not .*: write def add\(...\) -> Deferred\[T\]"),
        (TwistedClient, Wrong.Awaited, "Awaited.add is not"),
    ],
)
def test_a_protocol_of_another_form_is_refused_at_once(kind: Any, protocol: Any, says: str) -> None:
    client = kind("tcp://127.0.0.1:5555")
    with pytest.raises(UsageError, match=says):
        client.typed(protocol)
