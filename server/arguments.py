"""A method's parameters: which arguments fit, checked on arrival against the annotations.

The common case, as many positional arguments as there are parameters, is one call of a msgspec decoder. All else (keywords, defaults,
`*args`, extensions, and every error) takes the long way, one argument at a time, which is where errors get their words.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from ..errors import InvalidArgument, UsageError
from ..protocol.values import UNREADABLE, Unpacker, typed_decoder

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_decode_list = msgspec.msgpack.Decoder(list[Raw]).decode


class Arguments:
    """What a function takes. Raises UsageError for annotations that cannot be checked."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.signature = inspect.signature(function)
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except Exception as error:
            raise UsageError(f"the annotations of method {name!r} cannot be read: {error}") from None
        self.returns: Any = hints.get("return", Any)
        parameters = self.signature.parameters.values()
        self.types = {parameter.name: hints.get(parameter.name, Any) for parameter in parameters}
        for parameter, kind in self.types.items():
            try:
                typed_decoder(kind)
            except TypeError as error:
                raise UsageError(
                    f"method {name!r}: values cannot be checked as {parameter}: {error}"
                ) from None
        self._fast: Callable[[Raw], tuple[Any, ...]] | None = None
        if all(parameter.kind in _POSITIONAL for parameter in parameters):
            self._fast = typed_decoder(tuple.__class_getitem__(tuple(self.types.values())))

    def bind(
        self, values: Unpacker, args: Raw, kwargs: dict[str, Raw] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`(args, kwargs)` to call the function with. Raises InvalidArgument that names method, argument and types."""
        if kwargs is None and self._fast is not None:
            try:
                return self._fast(args), _NOTHING
            except UNREADABLE:
                pass
        return self._bind(values, args, kwargs)

    def _bind(
        self, values: Unpacker, args: Raw, kwargs: dict[str, Raw] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            given = _decode_list(args)
        except UNREADABLE as error:
            raise InvalidArgument(f"{self.name}: the arguments cannot be read: {error}") from None
        try:
            bound = self.signature.bind(*given, **(kwargs or _NOTHING))
        except TypeError as error:
            raise InvalidArgument(f"{self.name}{self.signature}: {error}") from None
        for name, value in bound.arguments.items():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(self._value(values, name, one) for one in value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: self._value(values, name, one) for key, one in value.items()}
            else:
                bound.arguments[name] = self._value(values, name, value)
        return bound.args, bound.kwargs

    def _value(self, values: Unpacker, name: str, raw: Raw) -> Any:
        try:
            return values.typed(raw, self.types[name])
        except msgspec.ValidationError as error:
            raise InvalidArgument(f"{self.name}: argument {name!r}: {error}") from None
        except UNREADABLE as error:
            raise InvalidArgument(f"{self.name}: argument {name!r} cannot be read: {error}") from None


_NOTHING: dict[str, Any] = {}
