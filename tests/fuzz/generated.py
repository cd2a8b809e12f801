"""Generates well-formed messages for the service in `fragile.py`; their values may fit or not.

A value is generated as MessagePack, since much of what is tried has no Python object.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from fragile import RAISES, RETURNS
from msgspec import Raw

encode = msgspec.msgpack.encode

STREAM = b"\xc7\x00\x03"

HOWS = [encode(name) for name in RAISES]
KINDS = [encode(name) for name in RETURNS]
_LENGTHS = (0, 1, 2, 3, 4, 5, 8, 9, 12, 13, 16, 17, 31, 255)
_SCALARS = [
    encode(value)
    for value in (
        None,
        True,
        False,
        0,
        1,
        -1,
        7,
        127,
        -32,
        -33,
        255,
        65_536,
        (1 << 63) - 1,
        -(1 << 63),
        (1 << 64) - 1,
        0.0,
        -0.0,
        1.5,
        float("nan"),
        float("inf"),
        1e308,
        "",
        "a",
        "é",
        "\0",
        "red",
        "1.5",
        "NaN",
        "sNaN",
        "1e999999999",
        "2024-01-01T00:00:00Z",
        "2024-13-01",
        "9999-12-31T23:59:59.999999999-23:59",
        "PT1S",
        "P999999999999D",
        "00000000-0000-0000-0000-000000000000",
        "x" * 300,
        b"",
        b"\xff",
        bytes(300),
        [],
        {},
        [1, 2],
        {"a": 1},
        {1: 2},
        {"": None},
    )
] + [
    b"\xa1\xff",  # not UTF-8
    b"\xa3\xed\xa0\x80",  # a surrogate
    b"\xd9\x01a",  # longer than need be
    b"\xcf\0\0\0\0\0\0\0\1",
    b"\xca\x7f\xc0\0\0",  # a float of 32 bits, NaN
    b"\x82\xa1a\x01\xa1a\x02",  # one key twice
    b"\x81\x80\x01",  # keys that are a map, an array, nil, a float, an extension
    b"\x81\x91\x01\x01",
    b"\x81\xc0\x01",
    b"\x81\xcb\x7f\xf8\0\0\0\0\0\0\x01",
    b"\x81\xd4\x05\x01\x01",
    b"\x81\xd4\x02\x05\x01",
    b"\x81\xd4\x01\x00\x01",
    b"\xde\0\0",
    b"\xdc\0\0",
    b"\xc4\x00",
    STREAM,
]


class Chance(random.Random):
    """With what is asked of it most often."""

    def one(self, of: Any) -> Any:
        return of[int(self.random() * len(of))]


def extension(chance: Chance) -> bytes:
    code = chance.one((-1, -1, 0, 1, 1, 2, 3, 3, 4, 127, -128, chance.randint(-128, 127)))
    length = chance.one(_LENGTHS)
    data = bytes(length) if chance.random() < 0.3 else chance.randbytes(length)
    fixed = {1: b"\xd4", 2: b"\xd5", 4: b"\xd6", 8: b"\xd7", 16: b"\xd8"}.get(length)
    byte = code.to_bytes(1, "big", signed=True)
    if fixed is not None and chance.random() < 0.5:
        return fixed + byte + data
    if chance.random() < 0.2:
        return b"\xc8" + length.to_bytes(2, "big") + byte + data
    return b"\xc7" + bytes([length]) + byte + data


def value(chance: Chance, depth: int = 0) -> bytes:
    """Any value."""
    kind = chance.random()
    if kind < 0.55 or depth > 3:
        return chance.one(_SCALARS)
    if kind < 0.70:
        return extension(chance)
    if kind < 0.78:
        return b"\x91" + chance.one(HOWS)
    if kind < 0.88:
        count = int(chance.random() * 4)
        return bytes([0x90 | count]) + b"".join(value(chance, depth + 1) for _ in range(count))
    if kind < 0.98:
        count = int(chance.random() * 4)
        pairs = (
            (encode(chance.one("abnx")) if chance.random() < 0.7 else chance.one(_SCALARS))
            + value(chance, depth + 1)
            for _ in range(count)
        )
        return bytes([0x80 | count]) + b"".join(pairs)
    if kind < 0.985:
        return b"\x91" * chance.randint(20, 200) + chance.one(_SCALARS)
    if kind < 0.99:
        return b"\xdb" + (100_000).to_bytes(4, "big") + b"x" * 100_000
    return b"\xc7" + bytes([200]) + b"\x02" + chance.randbytes(200)


# What an argument of one type is made of; each may be another value instead.


def how(chance: Chance) -> bytes:
    return chance.one(HOWS)


def what(chance: Chance) -> bytes:
    return chance.one(KINDS) if chance.random() < 0.8 else value(chance)


def whole(chance: Chance) -> bytes:
    return encode(chance.randint(-3, 12))


def fields(chance: Chance, **by_name: Callable[[Chance], bytes]) -> bytes:
    """A map of some of these."""
    chosen = [(name, of) for name, of in by_name.items() if chance.random() < 0.7]
    return bytes([0x80 | len(chosen)]) + b"".join(encode(name) + of(chance) for name, of in chosen)


def how_if_any(chance: Chance) -> bytes:
    return how(chance) if chance.random() < 0.5 else b"\xa0"


def post(chance: Chance) -> bytes:
    return fields(chance, how=how_if_any, n=whole)


def post_struct(chance: Chance) -> bytes:
    return fields(chance, how=how_if_any, inner=some(post))


def factory(chance: Chance) -> bytes:
    return fields(chance, given=whole)


def factory_struct(chance: Chance) -> bytes:
    return b"\x91\x01" if chance.random() < 0.5 else b"\x92\x01\x02"


def hashed(chance: Chance) -> bytes:
    if chance.random() < 0.3:
        return fields(chance, how=lambda chance: encode("eq " + chance.one(list(RAISES))), n=whole)
    return post(chance)


def animal(chance: Chance) -> bytes:
    return (
        b"\x82\xa4type"
        + chance.one((b"\xa3Cat", b"\xa3Dog", b"\xa3Cow"))
        + b"\xa3how"
        + how_if_any(chance)
    )


def some(of: Callable[[Chance], bytes], most: int = 4) -> Callable[[Chance], bytes]:
    def make(chance: Chance) -> bytes:
        count = int(chance.random() * most)
        return bytes([0x90 | count]) + b"".join(of(chance) for _ in range(count))

    return make


def as_map(
    key: Callable[[Chance], bytes], of: Callable[[Chance], bytes]
) -> Callable[[Chance], bytes]:
    def make(chance: Chance) -> bytes:
        count = int(chance.random() * 3)
        return bytes([0x80 | count]) + b"".join(key(chance) + of(chance) for _ in range(count))

    return make


def fixed(*choices: Any) -> Callable[[Chance], bytes]:
    packed = [encode(choice) for choice in choices]
    return lambda chance: chance.one(packed)


def stream(chance: Chance) -> bytes:
    return STREAM


class Taken(NamedTuple):
    """What a method takes: an argument's name, and what makes it; `items` of the argument that
    streams.
    """

    arguments: dict[str, Callable[[Chance], bytes]]
    items: Callable[[Chance], bytes] | None = None
    streams: bool = False  # its answer


METHODS: dict[str, Taken] = {
    "echo": Taken({"value": value}),
    "post": Taken({"one": post}),
    "posts_inline": Taken({"one": post, "other": post_struct, "named": post}),
    "struct": Taken({"one": post_struct}),
    "factory": Taken({"one": factory, "other": factory_struct}),
    "hashed": Taken({"one": some(hashed), "other": as_map(fixed("a", "b"), some(hashed))}),
    "hashed_inline": Taken({"one": some(hashed)}),
    "rest": Taken({"a": post, "b": post, "c": post_struct}),
    "animal": Taken({"one": animal, "many": some(animal)}),
    "values": Taken(
        {
            "price": fixed("1.50", "NaN", "sNaN", "1e9999999", 1.5, 1),
            "moment": lambda chance: (
                b"\xd6\xff" + chance.randbytes(4)
                if chance.random() < 0.5
                else fixed("2024-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59")(chance)
            ),
            "day": fixed("2024-01-01", None),
            "span": fixed("PT1.5S", "-P1D", "P99999999999D", 1.5, 1e300),
            "one": fixed("00000000-0000-0000-0000-000000000000", "0" * 32, b"\0" * 16),
            "colour": lambda chance: how(chance) if chance.random() < 0.6 else b"\xa3red",
        }
    ),
    "within": Taken(
        {
            "small": whole,
            "word": fixed("abc", "ABC", "abcdef"),
            "items": some(whole, 6),
            "number": fixed(1, 1.5, None),
        }
    ),
    "maps": Taken(
        {
            "one": as_map(whole, some(post)),
            "other": as_map(fixed([1, "a"], [1], {}), fixed(b"a", "a")),
            "third": lambda chance: b"\x92\x01" + post(chance),
        }
    ),
    "sum_posts": Taken({"items": stream, "how": how_if_any}, items=post),
    "sum_posts_async": Taken({"items": stream, "how": how_if_any}, items=post),
    "hashes_of": Taken({"items": stream}, items=some(hashed)),
    "first_post": Taken({"items": stream, "how": how_if_any}, items=post),
    "pairs": Taken(
        {"items": stream},
        items=lambda chance: b"\x92\x01" + (how(chance) if chance.random() < 0.3 else b"\xa3red"),
        streams=True,
    ),
    "yields": Taken({"how": how_if_any, "what": what, "at_last": how_if_any}, streams=True),
    "yields_async": Taken({"how": how_if_any, "what": what, "at_last": how_if_any}, streams=True),
    "stays": Taken({}, streams=True),
    "cached": Taken({"value": what, "how": how_if_any}),
    "cached_inline": Taken({"value": what, "how": how_if_any}),
    "cached_async": Taken({"how": how_if_any, "what": what}),
    "state": Taken({"how": how_if_any, "what": what}),
    "ringback.describe": Taken({}),
    "ringback.stats": Taken({}),
    "no.such": Taken({"a": value}),
    **{
        name: Taken({"how": how_if_any, "what": what})
        for name in ("ends_inline", "ends", "ends_in_thread", "ends_async")
    },
}
# Slow, since each writes to a file: called seldom.
ONCE: dict[str, Taken] = {
    "once": Taken({"how": how_if_any, "what": what}),
    "once_async": Taken({"how": how_if_any, "what": what, "post": post}),
}
NAMES, ONCE_NAMES = list(METHODS), list(ONCE)

TIMEOUTS = (0, -1, 1, 20, 1000, 60_000, (1 << 63) - 1, (1 << 63), (1 << 64) - 1, -(1 << 63))
PRIORITIES = (0, 1, -1, 100, 1 << 31, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1)
WISHES = ("before", "answer", "failed", "finally", "again", "after", "instead")


def options(chance: Chance, key: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if chance.random() < 0.7:
        wishes = {
            name: Raw(what(chance) if name in ("answer", "instead") else how(chance))
            for name in WISHES
            if chance.random() < 0.2
        }
        made["metadata"] = wishes or {"other": Raw(value(chance))}
    if chance.random() < 0.3:
        made["priority"] = chance.one(PRIORITIES)
    if chance.random() < 0.3:
        made["key"] = chance.one(("", "k", "\0", "k" * 300, None))
    if chance.random() < 0.3:
        made["versions"] = chance.one(({}, {"fragile": 5}, {"": (1 << 64) - 1}, {"x": -1}, None))
    if chance.random() < 0.1:
        made["unknown"] = 1
    if key is not None:
        made["key"] = key
    return made


class Called(NamedTuple):
    """A call as it was generated: its message, and what makes the items of its argument.

    One that `takes_all` has read all of its items when it replies.
    """

    message: bytes
    items: Callable[[Chance], bytes] | None
    takes_all: bool


# An item of the methods that take all.
BAD_POST = encode({"how": "assert"})


def call(chance: Chance, number: int) -> Called:
    """A call that is well-formed; its arguments may fit the method, or not."""
    often = chance.random() < 0.985
    name = chance.one(NAMES if often else ONCE_NAMES)
    taken = METHODS[name] if often else ONCE[name]
    positional: list[bytes] = []
    named: dict[str, Raw] = {}
    for argument, make in taken.arguments.items():
        packed = make(chance) if chance.random() < 0.9 else value(chance)
        if named or chance.random() < 0.15:
            named[argument] = Raw(packed)
        else:
            positional.append(packed)
    if chance.random() < 0.05:
        positional.append(value(chance))
    if chance.random() < 0.02:
        named["\ud7ff" if chance.random() < 0.5 else "how"] = Raw(value(chance))
    args = bytes([0x90 | len(positional)]) + b"".join(positional)
    if chance.random() < 0.01:
        args = value(chance)  # no array at all, maybe
    credit = (
        chance.one((1, 3, 100, (1 << 64) - 1)) if taken.streams ^ (chance.random() < 0.02) else 0
    )
    timeout = chance.one(TIMEOUTS) if chance.random() < 0.1 else None
    key = None if often or chance.random() < 0.1 else f"key {chance.randint(0, 300)}"
    some_options = options(chance, key) if key or chance.random() < 0.15 else None
    message = encode([3, number, name, Raw(args), named or None, timeout, credit, some_options])
    return Called(message, taken.items, name.startswith("sum_posts") and some_options is None)


def note(chance: Chance) -> bytes:
    """A one-way call."""
    name = chance.one(NAMES)
    parts = [make(chance) for make in METHODS[name].arguments.values()]
    args = bytes([0x90 | len(parts)]) + b"".join(parts)
    return encode(
        [4, name, Raw(args), None, options(chance, None) if chance.random() < 0.2 else None]
    )
