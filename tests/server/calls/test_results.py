"""`Service(check_results=True)`: what a handler returns or yields is what its annotation says, or
an error of the call.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import ringback
from processes import SOON
from ringback import errors
from ringback.errors import UsageError
from ringback.testing import serving


@dataclass
class Item:
    name: str
    price: Decimal


service = ringback.Service("shop", check_results=True)
pool = concurrent.futures.ThreadPoolExecutor(1)


@service.method
def item(value: Any) -> Item:
    return value


@service.method(inline=True)
def item_inline(value: Any) -> Item | None:
    return value


@service.method
async def item_async(value: Any) -> list[Item]:
    return [value]


@service.method
def item_later(value: Any) -> concurrent.futures.Future[Item]:
    return pool.submit(lambda: value)


@service.method(cache=60)
def item_cached(value: Any) -> Item:
    return value


@service.method
def anything(value):
    return value


@service.method
def items(values: list[Any]) -> Iterator[Item]:
    yield from values


@service.method
async def items_async(values: list[Any]) -> AsyncIterator[Item]:
    for value in values:
        yield value


RIGHT, WRONG = {"name": "tea", "price": "1.10"}, {"name": "tea", "price": 1.1}
METHODS = ["item", "item_inline", "item_async", "item_later", "item_cached"]


@pytest.mark.parametrize("method", METHODS)
def test_a_result_is_what_its_annotation_says(backend: str, method: str) -> None:
    with serving(service, backend) as client:
        assert client.call(method, RIGHT) in (RIGHT, [RIGHT])
        for wrong in (WRONG, {"name": "tea"}, "tea"):
            with pytest.raises(
                errors.RemoteError, match=f"the result of {method} does not match its annotation: "
            ):
                client.call(method, wrong)
        assert client.call(method, RIGHT) in (RIGHT, [RIGHT])


@pytest.mark.parametrize("method", ["items", "items_async"])
def test_items_are_what_the_annotation_says(backend: str, method: str) -> None:
    with serving(service, backend) as client:
        assert list(client.stream(method, [RIGHT, RIGHT])) == [RIGHT, RIGHT]
        found = []
        with pytest.raises(
            errors.RemoteError, match=f"an item of {method} does not match its annotation"
        ):
            found.extend(client.stream(method, [RIGHT, WRONG]))
        with client.stream(method, [RIGHT, WRONG]) as stream:
            assert next(stream) == RIGHT


def test_a_handler_without_an_annotation_returns_what_it_likes(backend: str) -> None:
    with serving(service, backend) as client:
        assert client.call("anything", WRONG) == WRONG
        large = {"data": b"x" * 100_000, "number": 1 << 70}
        assert client.call("anything", large) == large


@dataclass
class Touchy:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise KeyError(self.number)


@dataclass(frozen=True)
class Frozen:
    number: int


def test_whatever_a_check_raises_is_the_error_of_the_call(backend: str) -> None:
    made = ringback.Service("touchy", check_results=True)

    @made.method
    def later(number: int) -> concurrent.futures.Future[Touchy]:
        return pool.submit(lambda: {"number": number})

    @made.method(inline=True)
    def at_once(number: int) -> Touchy:
        return {"number": number}  # type: ignore[return-value]

    @made.method
    def keyed():
        return {Frozen(1): "x"}

    @made.method
    def bare() -> concurrent.futures.Future:  # type: ignore[type-arg]
        return pool.submit(lambda: "anything")

    with serving(made, backend) as client:
        for method in ("later", "at_once"):
            assert client.call(method, 1) == {"number": 1}
            with pytest.raises(errors.RemoteError, match="does not match its annotation"):
                client.options(timeout=SOON).call(method, -1)
        assert client.call("bare") == "anything"
        with pytest.raises(errors.CallError):  # no plain data have such keys, at this end
            client.call("keyed")


def test_nothing_is_checked_where_nobody_asks_for_it() -> None:
    plain = ringback.Service("shop")
    plain.method(lambda value: value, name="item")

    def wrong() -> int:
        return "no number"  # type: ignore[return-value]

    plain.method(wrong)
    with serving(plain) as client:
        assert client.call("wrong") == "no number"


def test_an_annotation_that_nothing_can_be_checked_by_keeps_a_server_from_starting() -> None:
    class Own:
        pass

    made = ringback.Service("wrong", check_results=True)

    def give() -> Any: ...

    give.__annotations__ = {"return": Own}
    made.method(give)
    with pytest.raises(
        UsageError,
        match=r"check_results: the result of method 'give' cannot be checked: no value that is sent can be a .*Own",
    ):
        made.prepare()
