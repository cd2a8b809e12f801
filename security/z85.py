"""Z85, the text form of keys: 32 bytes as 40 characters (https://rfc.zeromq.org/spec/32/)."""

from __future__ import annotations

_DIGITS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
# Digits of a group, and the bytes that it encodes.
_GROUP, _BYTES = 5, 4


def encode(data: bytes) -> bytes:
    """Encode data whose length is a multiple of 4. Raises ValueError for another length."""
    if len(data) % _BYTES:
        raise ValueError(f"{len(data)} bytes are not a multiple of {_BYTES}")
    text = bytearray()
    for at in range(0, len(data), _BYTES):
        number = int.from_bytes(data[at : at + _BYTES], "big")
        text += bytes(_DIGITS[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return bytes(text)


def decode(text: bytes) -> bytes:
    """Decode a text whose length is a multiple of 5. Raises ValueError if it is not Z85."""
    if len(text) % _GROUP:
        raise ValueError(f"{len(text)} characters are not a multiple of {_GROUP}")
    data = bytearray()
    for at in range(0, len(text), _GROUP):
        number = 0
        for digit in text[at : at + _GROUP]:
            value = _VALUES.get(digit)
            if value is None:
                raise ValueError(f"{chr(digit)!r} is not a digit of Z85")
            number = number * 85 + value
        if number >= 1 << 32:
            raise ValueError("a group of digits beyond 32 bits")
        data += number.to_bytes(_BYTES, "big")
    return bytes(data)
