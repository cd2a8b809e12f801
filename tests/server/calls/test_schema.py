"""What `describe` tells programs of each method: JSON Schema, by which what is sent and answered is
valid.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
import ringback
from ringback.testing import serving


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Item:
    name: str
    price: Decimal
    size: Size = Size.SMALL


class Order(msgspec.Struct):
    items: list[Item]
    placed: datetime.datetime | None = None


service = ringback.Service("shop")


@service.method
def order(
    order: Order, amount: Annotated[int, msgspec.Meta(ge=1)] = 1, *notes: str, urgent: bool = False
) -> Order:
    return order


@service.method
def anything(value, **more: int): ...


@service.method
def count(n: int) -> Iterator[Item]:
    yield Item("tea", Decimal(n))


@service.method
async def count_async(n: int) -> AsyncIterator[int]:
    yield n


@service.method
def total(numbers: Iterator[float]) -> float:
    return sum(numbers)


@service.method
def odd(view: memoryview, number: complex | None = None) -> Any: ...


def schemas() -> dict[str, dict[str, Any]]:
    with serving(service) as client:
        return {method["name"]: method["schema"] for method in client.describe()["methods"]}


def test_arguments_are_an_object_and_results_have_their_types() -> None:
    schema = schemas()["order"]
    assert schema["arguments"] == {
        "type": "object",
        "properties": {
            "order": {"$ref": "#/$defs/Order"},
            "amount": {"type": "integer", "minimum": 1, "default": 1},
            "notes": {"type": "array", "items": {"type": "string"}},
            "urgent": {"type": "boolean", "default": False},
        },
        "required": ["order"],
        "additionalProperties": False,
    }
    assert schema["result"] == {"$ref": "#/$defs/Order"}
    assert schema["$defs"].keys() == {"Order", "Item", "Size"}
    assert schema["$defs"]["Item"]["properties"]["size"] == {
        "$ref": "#/$defs/Size",
        "default": "small",
    }
    assert schema["$defs"]["Size"]["enum"] == ["large", "small"]


def test_what_has_no_annotation_or_no_schema_may_be_anything() -> None:
    found = schemas()
    anything = found["anything"]
    assert anything["arguments"]["properties"] == {"value": {}}
    assert anything["arguments"]["additionalProperties"] == {"type": "integer"}
    assert anything["result"] == {}
    assert found["odd"]["arguments"]["properties"]["view"] in (
        {},
        {"type": "string", "contentEncoding": "base64"},
    )
    assert found["odd"]["arguments"]["required"] == ["view"]


def test_streams_have_items() -> None:
    found = schemas()
    assert found["count"]["item"] == {"$ref": "#/$defs/Item"}
    assert "result" not in found["count"]
    assert found["count_async"]["item"] == {"type": "integer"}
    assert found["total"]["arguments"]["properties"]["numbers"] == {
        "type": "array",
        "items": {"type": "number"},
    }


def test_a_model_brings_its_definitions_under_its_own_name() -> None:
    pydantic = pytest.importorskip("pydantic")
    first = pydantic.create_model("Line", name=(str, ...))
    second = pydantic.create_model("Line", amount=(int, ...))
    Bill = pydantic.create_model("Bill", lines=(list[first], ...))
    Note = pydantic.create_model("Note", lines=(list[second], ...))
    made = ringback.Service("bills")

    def pay(bill: Any, note: Any, broken: str = "\ud800") -> None: ...

    pay.__annotations__ = {"bill": Bill, "note": Note, "broken": str, "return": list[Bill]}
    made.method(pay)
    with serving(made) as client:
        (method,) = client.describe()["methods"]
    schema = method["schema"]
    properties = schema["arguments"]["properties"]
    assert properties["bill"]["properties"]["lines"]["items"] == {"$ref": "#/$defs/Bill.Line"}
    assert properties["note"]["properties"]["lines"]["items"] == {"$ref": "#/$defs/Note.Line"}
    assert schema["$defs"]["Bill.Line"]["properties"]["name"]["type"] == "string"
    assert schema["$defs"]["Note.Line"]["properties"]["amount"]["type"] == "integer"
    assert properties["broken"] == {"type": "string"}
    assert schema["result"]["type"] == "array"
