"""How many elements a piece of MessagePack has, without decoding it.

A value of 16 MiB may be 16 million empty lists, which take 1.2 GiB when they are decoded. To count them no structure is needed:
MessagePack is a row of tokens, and each value, key, list and map is one.
"""

from __future__ import annotations

import re

# Tokens that say in their first bytes how long they are. (Those in front are the most frequent.)
ONE_BYTE = rb"[\x00-\xa0\xc0-\xc3\xe0-\xff]"  # small integers, arrays and maps; nil, bool, the empty str
NUMBERS = [rb"[\xcb\xcf\xd3].{8}", rb"[\xca\xce\xd2].{4}", rb"[\xcd\xd1]..", rb"[\xcc\xd0]."]
STRINGS = [rb"%c.{%d}" % (0xA0 + length, length) for length in range(1, 32)]
STRINGS += [
    rb"[\xd9\xc4](?:%s)" % b"|".join(rb"\x%02x.{%d}" % (length, length) for length in range(80))
]  # and bin
EXTENSIONS = [rb"\xd4..", rb"\xd5...", rb"\xd6.{5}", rb"\xd7.{9}", rb"\xd8.{17}"]

_TOKENS = [ONE_BYTE, *NUMBERS, *STRINGS, *EXTENSIONS, rb"[\xdc\xde]..", rb"[\xdd\xdf].{4}"]


# So many tokens at once, in C, the most first. (More at once are no faster, and lose more where they end.)
_RUNS = [
    (many, re.compile(rb"(?:%s){%d}+" % (b"|".join(_TOKENS), many), re.DOTALL).match) for many in (256, 16, 1)
]

# Tokens that say their length: how many bytes it has, and how many come between it and the data.
_LONG = {
    0xC4: (1, 0),  # bin
    0xC5: (2, 0),
    0xC6: (4, 0),
    0xC7: (1, 1),  # ext, whose code is between
    0xC8: (2, 1),
    0xC9: (4, 1),
    0xD9: (1, 0),  # str
    0xDA: (2, 0),
    0xDB: (4, 0),
}


def more_than(most: int, data: bytes, start: int = 0) -> bool:
    """Whether the data from there on have more elements than that. What is no MessagePack or has no end is for the decoder to find."""
    return count(data, start, most) > most


def count(data: bytes, start: int = 0, most: int = 1 << 62) -> int:
    """How many elements the data from there on have; where they are more than `most`, some number above it."""
    found, at, end = 0, start, len(data)
    while at < end and found <= most:
        before = at
        for many, match in _RUNS:
            while found <= most and (run := match(data, at)) is not None:
                at = run.end()
                found += many
        if at < end and (after := after_long(data, at)):
            at = after
            found += 1
        elif at == before:
            break
    return found


def array_length(data: bytes, at: int) -> int:
    """Of the array that begins there; 0 where none does."""
    first = data[at]
    return begun(data, at)[0] if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD) else 0


def begun(data: bytes, at: int) -> tuple[int, int]:
    """How much comes in a list or a map, and where that begins."""
    first = data[at]
    if first <= 0x9F:
        length, after = first & 0x0F, at + 1
        is_map = first < 0x90
    else:
        after = at + (3 if first in (0xDC, 0xDE) else 5)
        length, is_map = int.from_bytes(data[at + 1 : after], "big"), first >= 0xDE
    return (2 * length if is_map else length), after


def after_long(data: bytes, at: int) -> int:
    """Where a token that says its length ends, which may be after the data; 0 where there is another token."""
    long = _LONG.get(data[at])
    if long is None:
        return 0
    width, between = long
    return at + 1 + width + between + int.from_bytes(data[at + 1 : at + 1 + width], "big")
