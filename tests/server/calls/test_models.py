"""Arguments and results that are pydantic's models; and annotations that no value can ever meet."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Hashable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import ringback
from ringback import errors
from ringback.errors import UsageError
from ringback.testing import serving

pydantic = pytest.importorskip("pydantic")


class Item(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    name: str
    price: Decimal
    made: datetime.datetime | None = None


class Order(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    items: list[Item]
    amount: int = pydantic.Field(gt=0)


service = ringback.Service("shop")


@service.method
def order(order: Order) -> Order:
    assert type(order) is Order
    return order


@service.method(inline=True)
def first(orders: list[Order], names: dict[str, Item] | None = None) -> dict[str, Order]:
    return {"first": orders[0]}


@service.method
def items(count: int) -> Iterator[Item]:
    for number in range(count):
        yield Item(name=str(number), price=Decimal("1.10"))


@service.method
def names(items: Iterator[Item]) -> list[str]:
    return [item.name for item in items]


NOW = datetime.datetime.now(datetime.UTC)
SMALL = Order(items=[Item(name="tea", price=Decimal("0.10"), made=NOW)], amount=2)
LARGE = Order(items=[Item(name="x" * 70_000, price=Decimal(1))], amount=1)


@pytest.mark.parametrize("sent", [SMALL, LARGE], ids=["small", "large"])
def test_a_model_arrives_and_comes_back_as_one(backend: str, sent: Any) -> None:
    with serving(service, backend) as client:
        assert client.options(returns=Order).call("order", sent) == sent
        assert client.options(returns=dict[str, Order]).call("first", [sent]) == {"first": sent}
        assert (
            client.call("order", SMALL)["amount"] == 2
        )  # as plain data where no type is asked for
        assert client.call(
            "names", iter([Item(name=name, price=Decimal(1)) for name in "abc"])
        ) == [
            "a",
            "b",
            "c",
        ]
        found = list(client.options(returns=Item).stream("items", 2))
        assert found == [
            Item(name="0", price=Decimal("1.10")),
            Item(name="1", price=Decimal("1.10")),
        ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"items": [], "amount": 0}, "Input should be greater than 0"),
        ({"amount": 1}, "Field required"),
        ({"items": [{"name": "tea"}], "amount": 1}, "Field required"),
        (5, "should be a valid dictionary"),
    ],
)
def test_what_a_model_refuses_is_an_argument_that_is_refused(given: Any, says: str) -> None:
    with serving(service) as client:
        with pytest.raises(
            errors.InvalidArgument, match=f"order: argument 'order': (.|\\n)*{says}"
        ):
            client.call("order", given)
        with pytest.raises(errors.InvalidArgument, match=says):
            client.call("first", [given])
        assert client.options(returns=Order).call("order", SMALL) == SMALL


class Plain:
    pass


@pytest.mark.parametrize(
    "kind", [Plain, list[Plain], dict[str, Plain], threading.Thread, Callable[[], int]]
)
def test_an_annotation_that_no_value_can_meet_is_refused_before_the_start(kind: Any) -> None:
    made = ringback.Service("wrong")

    def take(value: Any) -> None: ...

    take.__annotations__ = {"value": kind}
    made.method(take)
    with pytest.raises(
        UsageError,
        match=r"method 'take': (value is annotated wrongly: no value that is sent|values cannot)",
    ):
        made.prepare()


@pytest.mark.parametrize("kind", [Plain | None, Any, object, Hashable, Item, list[Item]])
def test_an_annotation_that_a_value_can_meet_is_taken(kind: Any) -> None:
    made = ringback.Service("right")

    def take(value: Any) -> None: ...

    take.__annotations__ = {"value": kind}
    made.method(take)
    made.prepare()


def test_what_a_caller_need_not_send_may_be_annotated_by_any_class() -> None:
    made = ringback.Service("right")

    @made.method
    def take(a: int, _clock: Plain = Plain(), *rest: Plain, **more: Plain) -> int:  # noqa: B008
        return a

    with serving(made) as client:
        assert client.call("take", 1) == 1


@pydantic.dataclasses.dataclass
class Ruled:
    amount: int = pydantic.Field(gt=0)


def test_rules_that_would_not_be_checked_are_refused() -> None:
    made = ringback.Service("wrong")

    @made.method
    def take(ruled: Ruled) -> None: ...

    with pytest.raises(
        UsageError, match="the rules of Ruled, a dataclass of pydantic's, would not be checked"
    ):
        made.prepare()


class Page(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    model_config = pydantic.ConfigDict(extra="forbid")
    address: pydantic.HttpUrl = pydantic.Field(alias="url")

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def length(self) -> int:
        return len(str(self.address))


def test_a_model_comes_back_by_its_own_rules() -> None:
    made = ringback.Service("pages", check_results=True)

    @made.method
    def page(page: Page) -> Page:
        return page

    sent = Page(url="http://example.org/")
    with serving(made) as client:
        assert client.options(returns=Page).call("page", sent) == sent


class Numbers(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    numbers: list[int]
    seen: int = 0

    @pydantic.field_validator("seen")
    @classmethod
    def note(cls, seen: int) -> int:
        asked.append(seen)
        return seen


asked: list[int] = []


def test_a_model_is_asked_once_and_answers_briefly() -> None:
    made = ringback.Service("numbers")

    @made.method
    def take(numbers: Numbers) -> int:
        return len(numbers.numbers)

    with serving(made) as client:
        assert client.call("take", {"numbers": [1, 2], "seen": 7}) == 2
        with pytest.raises(errors.InvalidArgument):
            client.call("take", {"numbers": ["x"], "seen": 8})
        assert asked == [7, 8]
        with pytest.raises(errors.InvalidArgument, match="200,000 validation errors for Numbers"):
            client.call("take", {"numbers": ["x"] * 200_000})
        with pytest.raises(
            errors.InvalidArgument, match=r"numbers\.0: .*numbers\.4: [^;]*; and 5 more$"
        ):
            client.call("take", {"numbers": ["x"] * 10})


def test_a_type_of_results_that_none_can_be_is_refused() -> None:
    with pytest.raises(TypeError, match="bad value for option 'returns'"):
        ringback.connect("tcp://127.0.0.1:5555").options(returns=Plain)
