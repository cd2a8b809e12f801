"""Refuses a float where an annotation asks for a Decimal, as floats are not exact.

msgspec converts a float to a Decimal, digit by digit, without an error. So a value whose type
contains Decimals is also checked as plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import repeat
from typing import Any

import msgspec
from msgspec import inspect

from .collisions import parts_of

# Raises msgspec.ValidationError for plain data with a float in place of a Decimal.
Check = Callable[[Any], object]

_RECORDS = (
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
    inspect.NamedTupleType,
)


def check_for(kind: Any) -> Check | None:
    """The check of plain data for that type; None for a type without Decimals.

    Raises TypeError if `kind` is no type.
    """
    try:
        return _kept(kind)
    except TypeError:  # it may just be unhashable
        return _made(kind)


def _made(kind: Any) -> Check | None:
    info = inspect.type_info(kind)
    if not any(isinstance(part, inspect.DecimalType) for part in parts_of(info, set())):
        return None
    return lambda plain: _look(info, plain)


_kept = cache(_made)


def _look(info: Any, plain: Any) -> None:
    kinds = [_bare(each) for each in getattr(_bare(info), "types", (info,))]  # members of a union
    if type(plain) is float:
        found = {type(kind) for kind in kinds}
        if inspect.DecimalType in found and inspect.FloatType not in found:
            raise msgspec.ValidationError(
                "Expected `decimal` in a str or int, got `float`, which is not exact"
            )
    elif type(plain) in (dict, list):
        for kind in kinds:
            for part, value in _inside(kind, plain):
                _look(part, value)


def _bare(info: Any) -> Any:
    """The type without its annotations."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    return info


def _inside(kind: Any, plain: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of type and value for the content of a map or an array.

    Empty if the data cannot be of type `kind`.
    """
    if isinstance(kind, inspect.DictType):
        if type(plain) is dict:
            yield from zip(repeat(kind.key_type), plain)
            yield from zip(repeat(kind.value_type), plain.values())
    elif isinstance(kind, _RECORDS):
        tag, tag_field = getattr(kind, "tag", None), getattr(kind, "tag_field", None)
        if type(plain) is list:
            if tag is None or plain[:1] == [tag]:
                fields = (field.type for field in kind.fields)
                yield from zip(fields, plain[tag is not None :], strict=False)
        elif tag is None or plain.get(tag_field) == tag:
            given = [field for field in kind.fields if field.encode_name in plain]
            yield from ((field.type, plain[field.encode_name]) for field in given)
    elif type(plain) is list:
        items = getattr(kind, "item_types", None) or repeat(getattr(kind, "item_type", None))
        yield from zip(items, plain, strict=False)
