"""Types that MessagePack and msgspec do not support: pydantic's models, and impossible types.

Models are recognized by their methods. No value can be of an impossible type.
"""

from __future__ import annotations

import datetime
import typing
from functools import cache
from typing import Any

from msgspec import inspect
from msgspec.msgpack import Ext

from .collisions import parts_of

# The types of plain data.
_PLAIN = (type(None), bool, int, float, str, bytes, list, dict, datetime.datetime, Ext)

# Maximum errors of a model to report. With many more, formatting them would take longer than
# finding them.
_ERRORS = 5


class Refused(Exception):
    """A model refuses the value.

    It is no ValueError: msgspec would turn that into a ValidationError, and the value would be
    decoded a second time.
    """


def construct(kind: Any, value: Any) -> Any:
    """Make a value of that type: a decoder's `dec_hook`. Raises TypeError or Refused."""
    plain = typing.get_origin(kind) or kind
    if isinstance(value, plain):
        return value
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise TypeError(f"Expected `{plain.__name__}`, got `{type(value).__name__}`")
    try:
        return validate(value)
    except ValueError as error:
        raise Refused(_in_words(error)) from None


def _in_words(error: Any) -> str:
    count = getattr(error, "error_count", None)
    if count is None:
        return str(error)
    name, many = error.title, count()
    if many > 10 * _ERRORS:
        return f"{many:,} validation errors for {name}"
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'.'.join(map(str, each['loc'])) or name}: {each['msg']}" for each in found[:_ERRORS]]
    return "; ".join(told) + (f"; and {many - _ERRORS} more" if many > _ERRORS else "")


def dumped(value: Any) -> Any:
    """The plain data of a model; an encoder's `enc_hook`. Raises TypeError for any other value."""
    kind = type(value)
    dump = getattr(kind, "model_dump", None)
    if dump is not None:
        return dump(value, by_alias=True, round_trip=True)  # the form that validation accepts
    if kind.__module__.startswith("pydantic") and not hasattr(kind, "get_secret_value"):
        return str(value)  # such as a URL
    raise TypeError(f"Encoding objects of type {kind.__name__} is unsupported")


def has_models(kind: Any) -> bool:
    """Whether the type contains a model. Raises TypeError if `kind` is no type."""
    return any(
        isinstance(part, inspect.CustomType) and hasattr(part.cls, "model_validate")
        for part in parts_of(inspect.type_info(kind), set())
    )


def unmet(kind: Any) -> str:
    """Why no value can be of that type, or "". Raises TypeError if `kind` is no type."""
    try:
        return _kept(kind)
    except TypeError:  # it may just be unhashable
        return _unmet(kind)


def _unmet(kind: Any) -> str:
    parts = list(parts_of(inspect.type_info(kind), set()))
    optional = {
        id(each) for part in parts if isinstance(part, inspect.UnionType) for each in part.types
    }
    for part in parts:
        if isinstance(part, inspect.DataclassType) and hasattr(part.cls, "__pydantic_validator__"):
            name = part.cls.__qualname__
            return (
                f"the rules of {name}, a dataclass of pydantic's, would not be checked: make it a "
                f"BaseModel"
            )
        if not isinstance(part, inspect.CustomType) or id(part) in optional:
            continue
        cls = typing.get_origin(part.cls) or part.cls
        if not hasattr(cls, "model_validate") and not any(_is_sub(each, cls) for each in _PLAIN):
            return f"no value that is sent can be a {cls.__qualname__}"
    return ""


_kept = cache(_unmet)


def _is_sub(kind: type, of: Any) -> bool:
    try:
        return issubclass(kind, of)
    except TypeError:  # a Protocol that is not checkable at runtime, or that has attributes
        return not getattr(of, "_is_protocol", False) or getattr(of, "_is_runtime_protocol", False)
