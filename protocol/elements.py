"""How many elements a piece of MessagePack has, without decoding it.

A value of 16 MiB may be 16 million empty lists, which take 1.2 GiB when they are decoded. To count them no structure is needed:
MessagePack is a row of tokens, and each value, key, list and map is one.
"""

from __future__ import annotations

import re

# One token that says in its first byte how long it is. (Those in front are the most frequent.)
_SHORT = b"|".join(
    [
        rb"[\x00-\xa0\xc0-\xc3\xe0-\xff]",
        *[rb"[\xcb\xcf\xd3].{8}", rb"[\xca\xce\xd2].{4}", rb"[\xcd\xd1]..", rb"[\xcc\xd0]."],  # numbers
        *[rb"%c.{%d}" % (0xA0 + length, length) for length in range(1, 32)],  # str
        *[rb"\xd4..", rb"\xd5...", rb"\xd6.{5}", rb"\xd7.{9}", rb"\xd8.{17}"],  # ext
        *[rb"[\xdc\xde]..", rb"[\xdd\xdf].{4}"],  # arrays and maps
    ]
)

# So many of them at once, in C: the most first.
_RUNS = [(many, re.compile(rb"(?:%s){%d}+" % (_SHORT, many), re.DOTALL).match) for many in (4096, 64, 1)]

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
    count, at, end = 0, start, len(data)
    while at < end and count <= most:
        long = _LONG.get(data[at])
        if long is not None:
            width, between = long
            at += 1 + width + between + int.from_bytes(data[at + 1 : at + 1 + width], "big")
            count += 1
            continue
        before = at
        for many, match in _RUNS:
            while count <= most and (found := match(data, at)) is not None:
                at = found.end()
                count += many
        if at == before:
            return False
    return count > most
