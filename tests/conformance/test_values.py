"""Which values travel, and how they arrive."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy
import pytest
from promises import promise
from ringback import errors
from service import Order, Point
from styles import Script

PLAIN = [
    None,
    True,
    False,
    0,
    -1,
    127,
    2**31,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    2**64,
    -(2**63) - 1,
    10**60,
    -(10**60),
    0.0,
    -1.5,
    1e300,
    float("inf"),
    "",
    "plain",
    "Grüße, мир, 世界, 🙂",
    "long " * 20_000,
    b"",
    b"\x00\xff",
    bytes(range(256)) * 400,
    [],
    [1, [2, [3, [None, "four"]]]],
    {},
    {"a": {"b": [1.5, b"bytes", "text", None]}, "": True},
    {1: "one", -2: "minus two"},
    {"big": [2**70, bytes(100_000)], "small": "here"},
]


@promise
def test_plain_values_come_back_as_they_went(client) -> Script:
    for method in ("echo", "echo.worker", "echo_async"):
        for value in PLAIN:
            result = yield client.call(method, value)
            assert result == value
            assert type(result) is type(value)


@promise
def test_nan_comes_back(client) -> Script:
    result = yield client.call("echo", float("nan"))
    assert result != result


@promise
def test_tuples_and_sets_arrive_as_lists(client) -> Script:
    assert (yield client.call("echo", (1, (2, 3)))) == [1, [2, 3]]
    assert (yield client.call("echo", {7})) == [7]


@promise
def test_an_integer_of_any_size_fits_an_int_annotation(client) -> Script:
    for value in (1, 2**64 - 1, 2**64, 10**60, -(10**60)):
        assert (yield client.call("big", value)) == value + 1
        assert (yield client.options(returns=int).call("big", value)) == value + 1


@promise
def test_dates_and_times_arrive_typed_where_annotated(client) -> Script:
    moment = datetime(2026, 2, 28, 23, 30, 1, 250, tzinfo=UTC)
    typed = client.options(returns=datetime)
    assert (yield typed.call("later", moment, timedelta(hours=1))) == moment + timedelta(hours=1)
    naive = moment.replace(tzinfo=None)
    assert (yield typed.call("later", naive, timedelta(days=1))) == naive + timedelta(days=1)
    assert (yield client.options(returns=date).call("next_day", date(2026, 2, 28))) == date(
        2026, 3, 1
    )
    assert isinstance((yield client.call("next_day", date(2026, 2, 28))), str)


@promise
def test_uuids_and_decimals_arrive_typed_where_annotated(client) -> Script:
    value = uuid.uuid4()
    assert (yield client.options(returns=uuid.UUID).call("same_uuid", value)) == value
    assert (yield client.call("same_uuid", value)) == str(value)
    price = Decimal("1234567890.12345678901234567890")
    assert (yield client.options(returns=Decimal).call("double", price)) == price * 2
    assert (yield client.call("double", Decimal("1.10"))) == "2.20"


@promise
def test_dataclasses_and_structs_arrive_typed_where_annotated(client) -> Script:
    point = Point(1, 2, "here")
    assert (yield client.options(returns=Point).call("mirrored", point)) == Point(2, 1, "here")
    assert (yield client.call("mirrored", point)) == {"x": 2, "y": 1, "label": "here"}
    assert (yield client.call("mirrored", {"x": 1, "y": 2})) == {"x": 2, "y": 1, "label": ""}
    assert (yield client.call("total", [point, point])) == 6
    order = Order(7, Decimal("9.50"), datetime(2026, 1, 1, tzinfo=UTC))
    dearer = Order(7, Decimal("10.50"), order.placed)
    assert (yield client.options(returns=Order).call("dearer", order)) == dearer


@promise
def test_what_lies_deep_inside_a_wrong_argument_is_named(client) -> Script:
    with pytest.raises(errors.InvalidArgument, match="points") as caught:
        yield client.call("total", [{"x": 1, "y": 2}, {"x": 1, "y": "two"}])
    for word in ("total", "int", "str"):
        assert word in str(caught.value)


@promise
def test_later_changes_to_an_argument_do_not_travel(client) -> Script:
    value = [1, 2]
    future = client.fire("echo_async", value)
    value.append(3)
    assert (yield future) == [1, 2]


@promise
def test_arrays_of_numpy_arrive_as_their_bytes(client) -> Script:
    for length in (100, 50_000):
        numbers = numpy.arange(length, dtype="float64")
        arrived = yield client.call("echo", numbers)
        assert (type(arrived), arrived) == (bytes, numbers.tobytes())
        assert (yield client.call("echo.worker", {"inside": numbers})) == {
            "inside": numbers.tobytes()
        }


@promise
def test_large_bytes_may_go_and_come_uncopied(client) -> Script:
    uncopied = client.options(returns=memoryview)
    for size in (10, 1_000_000):
        data = bytes(range(10)) * (size // 10)
        arrived = yield uncopied.call("mirror", data)
        assert (type(arrived), arrived) == (memoryview, data)
        again = yield uncopied.call("mirror", arrived)
        assert again == data
