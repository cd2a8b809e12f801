"""A service with all that a typed module has to say."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Required, TypedDict

import msgspec
import ringback

service = ringback.Service("tea-shop")


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Item:
    name: str
    price: Decimal = Decimal("1.5")
    size: Size = Size.SMALL
    tags: list[str] = field(default_factory=list)
    date: datetime.date | None = None  # which has the name of a type
    within: Item | None = None


class Cash(msgspec.Struct, tag=True):
    amount: int


class Card(msgspec.Struct, tag=True, rename={"kind": "class"}):
    number: str
    kind: Literal["debit", "credit"] = "debit"


class Filter(TypedDict, total=False):
    text: Required[str]
    most: int


class Place(NamedTuple):
    row: int
    shelf: str


@service.method
def add(a: int, b: int = 2) -> int:
    r"""Sum of "two\"."""
    return a + b


@service.method
def order(
    item: Item,
    /,
    when: datetime.datetime,
    *notes: str,
    urgent: bool = False,
    size: Size = Size.LARGE,
    **more: int,
) -> dict[int, Item]:
    """An item, by a number.

    And on another line.
    """
    return {len(notes) + sum(more.values()): item}


@service.method
def pay(by: Cash | Card) -> list[Cash | Card | datetime.datetime]:
    return [by, datetime.datetime(2026, 1, 2)]


@service.method
def cash(amount: int) -> Cash:
    return Cash(amount)


@service.method
def find(what: Filter) -> Filter:
    return what


@service.method
def place(of: uuid.UUID, code: bytes) -> Place | None:
    return Place(len(code), str(of))


@service.method
def items(n: int) -> Iterator[Item]:
    for number in range(n):
        yield Item(f"tea {number}")


@service.method
def total(numbers: Iterator[float]) -> float:
    return sum(numbers)


@service.method(name="list")
def list_of(n: int) -> list[set[int]]:
    return [{n}]


@service.method
def echo(self: Any, value=None) -> Any:
    return self


@service.method(name="accounts.close")
def close(name: str) -> bool:
    return bool(name)


@service.method(name="class")
def keyword() -> None: ...
