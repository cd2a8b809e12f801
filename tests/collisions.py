"""Keys that are equal in their hash, which for tuples and integers has no secret."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.msgpack import Ext, encode

_MASK = (1 << 64) - 1
_ONE, _TWO, _FIVE = (
    11400714785074694791,
    14029467366897019727,
    2870177450012600261,
)  # xxHash's, as CPython has them
_MODULUS = (1 << 61) - 1  # of the hash of an int


def _rotated(number: int, bits: int) -> int:
    return (number << bits | number >> (64 - bits)) & _MASK


def tuples(many: int) -> list[tuple[int, int]]:
    """So many pairs with one hash: the second is what the first leaves to be added."""
    undone = pow(_ONE, -1, 1 << 64), pow(_TWO, -1, 1 << 64)
    wanted = (1 - (2 ^ _FIVE ^ 3527539)) & _MASK
    before = _rotated(wanted * undone[0] & _MASK, 64 - 31)
    found: list[tuple[int, int]] = []
    first = 0
    while len(found) < many:
        first += 1
        state = _rotated((_FIVE + first * _TWO) & _MASK, 31) * _ONE & _MASK
        lane = (before - state) * undone[1] & _MASK
        second = (
            lane if lane < _MODULUS else lane - (1 << 64)
        )  # the hash of a negative one is negative
        if abs(second) < _MODULUS and second != -1:
            found.append((first, second))
    return found


def integers(many: int) -> list[int]:
    """So many, of more than 64 bits."""
    return [_MODULUS * ((1 << 20) + number) for number in range(many)]


def whole(number: int) -> bytes:
    """An integer of any length in MessagePack."""
    return encode(Ext(2, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)))


def as_map(keys: Iterable[bytes]) -> bytes:
    """In MessagePack, of packed keys. (A dict here would take as long as one elsewhere.)"""
    keys = list(keys)
    return b"\xdf" + len(keys).to_bytes(4, "big") + b"".join(key + b"\xc0" for key in keys)
