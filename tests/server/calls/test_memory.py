"""What calls in flight are counted for is what their arguments take in memory, within a factor."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from msgspec import Raw
from msgspec.msgpack import Decoder, encode
from ringback.protocol.messages import Call, CallOptions
from ringback.server.calls.memory import encoded, memory_of, memory_of_item, memory_of_options

decode = Decoder().decode


def chain(many: int) -> Any:
    inner: Any = {}
    for _ in range(many):
        inner = {0: inner}
    return inner


HONEST: dict[str, Any] = {
    "rows": [
        {"id": number, "name": f"name {number}", "price": number * 1.5, "tags": ["a", "b"]}
        for number in range(2000)
    ],
    "nested lists": [[[number, number + 1], [number * 1.5]] for number in range(5000)],
    "integers": list(range(1000, 20_000)),
    "floats": [number / 7 for number in range(20_000)],
    "short strings": [f"s{number}" for number in range(10_000)],
    "text": {f"chapter {number}": "Überall " * 2000 for number in range(20)},
    "bytes": [bytes(10_000)] * 20,
    "by name": {f"key {number}": [number] for number in range(5000)},
}
WORST: dict[str, Any] = {
    "empty lists": [[]] * 50_000,
    "empty maps": [{}] * 50_000,
    "maps of one entry": [{0: None}] * 20_000,
    "the same in one another": [chain(100)] * 100,
    "lists of one value": [[None]] * 50_000,
    "strings of two characters": ["ab"] * 50_000,
    "one character that is no Latin": ["中"] * 50_000,
    "large integers": [1 << 40] * 50_000,
}


def weight(value: Any, free: int = 0) -> int:
    args = encode([value])
    return memory_of(Call(1, "f", Raw(args)), (value,), {}, len(args), free)


def memory(value: Any) -> int:
    data = encode([value])
    gc.collect()
    tracemalloc.start()
    decoded = decode(data)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert decoded
    return taken


@pytest.mark.parametrize("value", HONEST.values(), ids=HONEST)
def test_honest_arguments_count_for_a_half_of_what_they_take_to_four_times(value):
    assert 0.5 <= weight(value) / memory(value) <= 4


@pytest.mark.parametrize("value", WORST.values(), ids=WORST)
def test_no_arguments_count_for_less_than_half_of_what_they_take(value):
    assert weight(value) >= memory(value) / 2


@pytest.mark.parametrize("value", [*HONEST.values(), *WORST.values()], ids=[*HONEST, *WORST])
def test_where_much_is_free_elements_are_not_counted_and_each_byte_is_taken_for_one(value):
    assert weight(value, free=1 << 60) == 65 * len(encode([value])) >= weight(value)


@pytest.mark.parametrize("value", ["text", b"bytes", 1, 1.5, None, True], ids=repr)
def test_scalars_count_for_the_bytes_that_they_had_on_the_wire(value):
    assert weight(value) == weight(value, free=1 << 60) == len(encode([value]))


def test_arguments_by_name_count_too():
    call = Call(1, "f", Raw(b"\x90"), {"a": Raw(encode([[]] * 1000))})
    assert memory_of(call, (), {"a": [[]] * 1000}, 1004, 0) == 1004 + 64 * 1003


def test_names_count_too():
    name = "n" * 1000
    call = Call(1, "f", Raw(b"\x90"), {name: Raw(encode(1))})
    assert memory_of(call, (), {name: 1}, encoded(call), 0) > 1000


def test_very_many_scalars_count_as_elements():
    values = ("ab",) * 100_000
    call = Call(1, "f", Raw(encode(values)))
    assert memory_of(call, values, {}, encoded(call), 0) > 64 * 100_000


def test_text_counts_for_a_quarter_of_what_it_takes_at_least():
    value = "x" * 100_000 + "\U0001d11e"
    assert weight(value) >= memory(value) / 4.1


@pytest.mark.parametrize("value", [*HONEST.values(), *WORST.values()], ids=[*HONEST, *WORST])
def test_an_item_counts_as_an_argument_does(value):
    raw = Raw(encode(value))
    assert memory_of_item(raw, value, 0) >= memory(value) / 2
    assert memory_of_item(Raw(encode(1)), 1, 5) == 6


@pytest.mark.parametrize(
    "options",
    [
        CallOptions({"a": [[]] * 1000}),
        CallOptions(key="k" * 1000),
        CallOptions(versions={str(n): n for n in range(1000)}),
    ],
    ids=["metadata", "key", "versions"],
)
def test_options_count_as_what_they_take(options):
    assert memory_of_options(CallOptions(priority=5)) == 0
    assert memory_of_options(options) >= memory(options) / 2
