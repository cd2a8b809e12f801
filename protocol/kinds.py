"""What an annotation says of the keys of maps: whether those who send them may choose any, or its author has."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import inspect


class Chosen(enum.Enum):
    """By whom the kinds of keys are chosen."""

    BY_SENDER = enum.auto()  # Any, somewhere
    BY_AUTHOR = enum.auto()  # arrays are asked for as keys
    FIXED = enum.auto()  # neither


# What an array becomes that may be a key.
_FROM_ARRAYS = (
    inspect.TupleType,
    inspect.VarTupleType,
    inspect.NamedTupleType,
    inspect.FrozenSetType,
    inspect.StructType,
    inspect.DataclassType,
)
# What is decoded as plain data, at first at least.
_PLAIN = (inspect.AnyType, inspect.CustomType)


def keys_chosen(kind: Any) -> Chosen:
    """Raises TypeError for what values cannot be decoded as."""
    try:
        return _kept(kind)
    except TypeError:  # it may just have no hash, as Annotated[int, {...}] has none
        return _chosen(kind)


def _chosen(kind: Any) -> Chosen:
    parts = list(parts_of(inspect.type_info(kind), set()))
    for part in parts:
        if isinstance(part, inspect.DictType) and any(
            isinstance(key, _FROM_ARRAYS) for key in parts_of(part.key_type, set())
        ):
            return Chosen.BY_AUTHOR
    return Chosen.BY_SENDER if any(isinstance(part, _PLAIN) for part in parts) else Chosen.FIXED


_kept = cache(_chosen)


def parts_of(part: Any, seen: set[int]) -> Iterator[Any]:
    """A type and all that it is made of; types may be made of themselves."""
    if isinstance(part, tuple):
        for one in part:
            yield from parts_of(one, seen)
    elif isinstance(part, (inspect.Type, inspect.Field)) and id(part) not in seen:
        seen.add(id(part))
        yield part
        for name in part.__struct_fields__:
            yield from parts_of(getattr(part, name), seen)
