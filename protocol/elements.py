"""Counts the elements of MessagePack data without decoding them.

A value of 16 MiB may be 16 million empty lists, which take 1.2 GiB once they are decoded. Counting
needs no structure: MessagePack is a sequence of tokens, and each value, key, list and map is one.
"""

from __future__ import annotations

import re

# Tokens whose first one or two bytes give their length. The most frequent come first.
# Small integers, arrays and maps; nil, bool, the empty str.
ONE_BYTE = rb"[\x00-\xa0\xc0-\xc3\xe0-\xff]"
NUMBERS = [rb"[\xcb\xcf\xd3].{8}", rb"[\xca\xce\xd2].{4}", rb"[\xcd\xd1]..", rb"[\xcc\xd0]."]
STRINGS = [rb"%c.{%d}" % (0xA0 + length, length) for length in range(1, 32)]
STRINGS += [
    rb"[\xd9\xc4](?:%s)" % b"|".join(rb"\x%02x.{%d}" % (length, length) for length in range(80))
]  # and bin
EXTENSIONS = [rb"\xd4..", rb"\xd5...", rb"\xd6.{5}", rb"\xd7.{9}", rb"\xd8.{17}"]

_TOKENS = [ONE_BYTE, *NUMBERS, *STRINGS, *EXTENSIONS, rb"[\xdc\xde]..", rb"[\xdd\xdf].{4}"]


# Numbers of tokens to match at once, in C, the largest first. Larger numbers are no faster, and
# lose more at the end of a run.
_RUNS = [
    (many, re.compile(rb"(?:%s){%d}+" % (b"|".join(_TOKENS), many), re.DOTALL).match)
    for many in (256, 16, 1)
]

# Tokens with a length field: the bytes of that field, and the bytes between it and the data.
_LONG = {
    0xC4: (1, 0),  # bin
    0xC5: (2, 0),
    0xC6: (4, 0),
    0xC7: (1, 1),  # ext, with its code between
    0xC8: (2, 1),
    0xC9: (4, 1),
    0xD9: (1, 0),  # str
    0xDA: (2, 0),
    0xDB: (4, 0),
}


def more_than(most: int, data: bytes, start: int = 0) -> bool:
    """Whether the data from `start` on have more than `most` elements.

    If the data are malformed or incomplete, the decoder finds it.
    """
    return count(data, start, most) > most


def count(data: bytes, start: int = 0, most: int = 1 << 62) -> int:
    """The number of elements in the data from `start` on; above `most`, any larger number."""
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
    """The length of the array at that offset; 0 if there is no array."""
    first = data[at]
    return begun(data, at)[0] if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD) else 0


def begun(data: bytes, at: int) -> tuple[int, int]:
    """The number of values in the list or map at that offset, and the offset of the first."""
    first = data[at]
    if first <= 0x9F:
        length, after = first & 0x0F, at + 1
        is_map = first < 0x90
    else:
        after = at + (3 if first in (0xDC, 0xDE) else 5)
        length, is_map = int.from_bytes(data[at + 1 : after], "big"), first >= 0xDE
    return (2 * length if is_map else length), after


def after_long(data: bytes, at: int) -> int:
    """The end of the token with a length field at that offset; 0 for any other token.

    The end may be beyond the data.
    """
    long = _LONG.get(data[at])
    if long is None:
        return 0
    width, between = long
    return at + 1 + width + between + int.from_bytes(data[at + 1 : at + 1 + width], "big")
