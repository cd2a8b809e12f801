"""Types that MessagePack and msgspec have no form for: pydantic's models, known by their methods, and those that no value can be."""

from __future__ import annotations

import datetime
import typing
from typing import Any

from msgspec import inspect
from msgspec.msgpack import Ext

from .collisions import parts_of

# What plain data are made of.
_PLAIN = (type(None), bool, int, float, str, bytes, list, dict, datetime.datetime, Ext)


def construct(kind: Any, value: Any) -> Any:
    """A value of that type from plain data, as a decoder's `dec_hook`. Raises TypeError, or what the model raises, a ValueError."""
    plain = typing.get_origin(kind) or kind
    if isinstance(value, plain):
        return value
    validate = getattr(kind, "model_validate", None)
    if validate is not None:
        return validate(value)
    raise TypeError(f"Expected `{plain.__name__}`, got `{type(value).__name__}`")


def dumped(value: Any) -> Any:
    """The plain data of a model, as an encoder's `enc_hook`. Raises TypeError for what is none."""
    dump = getattr(type(value), "model_dump", None)
    if dump is None:
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return dump(value)


def unmet(kind: Any) -> str:
    """The name of a class in that type of which no value can ever be; "" where there is none. Raises TypeError for what is no type."""
    info = inspect.type_info(kind)
    optional = {
        id(each)
        for part in parts_of(info, set())
        if isinstance(part, inspect.UnionType)
        for each in part.types
    }
    for part in parts_of(info, set()):
        if isinstance(part, inspect.CustomType) and id(part) not in optional:
            cls = typing.get_origin(part.cls) or part.cls
            if not hasattr(cls, "model_validate") and not any(_is_sub(each, cls) for each in _PLAIN):
                return str(cls.__qualname__)
    return ""


def _is_sub(kind: type, of: Any) -> bool:
    try:
        return issubclass(kind, of)
    except TypeError:  # a Protocol, perhaps
        return True
