"""A method's parameters: checks arguments on arrival against the annotations.

The fast path, as many positional arguments as parameters, is one call of a msgspec decoder.
Keywords, defaults, `*args`, extensions and every error take the slow path, one argument at a time.
Only the slow path writes error messages.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from itertools import repeat
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

from ...errors import InvalidArgument, UsageError, described
from ...protocol.collisions import FEW_BYTES, Chosen, check_keys, keys_chosen
from ...protocol.messages import CallOptions
from ...protocol.models import has_models, unmet
from ...protocol.values import Unpacker, decode_metadata, is_stream, typed_decoder

_NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# Annotations of a streamed argument, in a plain function and in a coroutine.
_SYNC = (Iterator, Generator, Iterable)
_ASYNC = (AsyncIterator, AsyncGenerator, AsyncIterable)
NO_NAMES: dict[str, Any] = {}
_decode_list = msgspec.msgpack.Decoder(list[Raw]).decode


def called(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that runs when `function` is called, and whose annotations count.

    That is the inner function of a partial, the `__call__` of an object, the `__init__` of a class.
    """
    while isinstance(function, (functools.partial, staticmethod)):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if inspect.isclass(function):
        return function.__init__
    return function if inspect.isroutine(function) else type(function).__call__


class Streamed(NamedTuple):
    """Placeholder for a streamed argument: its name, and the type of its items."""

    name: str
    kind: Any


class Arguments:
    """The parameters of a function, with decoders for its arguments.

    `waits`: how the function iterates over a streamed argument, "sync" or "async"; None if it
    cannot wait for items. Raises UsageError for annotations that cannot be checked.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], waits: Literal["sync", "async"] | None = None
    ) -> None:
        self.name = name
        self._waits = waits
        self.signature = inspect.signature(function)
        try:
            hints = typing.get_type_hints(called(function), include_extras=True)
        except Exception as error:
            raise UsageError(
                f"the annotations of method {name!r} cannot be read: {described(error)}"
            ) from None
        self.returns: Any = hints.get("return", Any)
        parameters = self.signature.parameters.values()
        self.types = {parameter.name: hints.get(parameter.name, Any) for parameter in parameters}
        # Names of the parameters without a default.
        self.required = [
            each.name for each in parameters if each.default is each.empty and each.kind in _NAMED
        ]
        self.streams: dict[str, Any] = {}  # type of the items, by streamed argument
        for parameter, kind in self.types.items():
            items = self._item_type(parameter, kind)
            if items is not None:
                self.streams[parameter] = items[0]
                kind = self.types[parameter] = list.__class_getitem__(items[0])
            try:
                typed_decoder(kind)
            except TypeError as error:
                raise UsageError(
                    f"method {name!r}: values cannot be checked against {parameter}: {error}"
                ) from None
            if parameter in self.required and (why := unmet(kind)):
                raise UsageError(
                    f"method {name!r}: {parameter} is annotated wrongly: {why}. Use a dataclass, a "
                    "msgspec.Struct, a TypedDict, a pydantic model, or types that these can hold"
                )
        choices = {keys_chosen(kind) for kind in self.types.values()}
        # The party that chooses the types of map keys, over all arguments (for the hash-collision
        # guard).
        self.keys = Chosen.BY_AUTHOR if Chosen.BY_AUTHOR in choices else Chosen.BY_SENDER
        self._wary = Chosen.BY_SENDER in choices
        # Decodes as many positional arguments as parameters; raises any exception for other input.
        self.short: Callable[[Raw], tuple[Any, ...]] | None = None
        # Models never take it: a second validation may be slow or have side effects.
        models = any(map(has_models, self.types.values()))
        if (
            not self.streams
            and not models
            and all(parameter.kind in _POSITIONAL for parameter in parameters)
        ):
            self.short = typed_decoder(tuple.__class_getitem__(tuple(self.types.values())))

    @functools.cached_property
    def short_list(self) -> Callable[[Raw], list[tuple[Any, ...]]] | None:
        """Like `short`, for the arguments of many calls at once."""
        if self.short is None:
            return None
        decode = typed_decoder(
            list.__class_getitem__(tuple.__class_getitem__(tuple(self.types.values())))
        )
        if not self._wary:
            return decode

        def decode_looked_at(raw: Raw) -> list[tuple[Any, ...]]:
            if len(raw) > FEW_BYTES:
                check_keys(bytes(raw))
            return decode(raw)  # type: ignore[no-any-return]

        return decode_looked_at

    def bind(
        self, values: Unpacker, args: Raw, kwargs: dict[str, Raw] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decode the arguments to `(args, kwargs)`.

        Raises only InvalidArgument, which names method, argument and types. An exception from a
        user's own type becomes its text.
        """
        if kwargs is None and self.short is not None:
            try:
                if values.frames:  # any argument may refer to them
                    given = _decode_list(args)
                    if len(given) == len(self.types):
                        return tuple(map(self._value, repeat(values), self.types, given)), NO_NAMES
                if self._wary and len(args) > FEW_BYTES:
                    check_keys(bytes(args))
                return self.short(args), NO_NAMES
            except BaseException:  # noqa: S110 - the slow path below writes the error
                pass
        where = ": "
        try:
            where = ": the arguments cannot be read: "
            given = _decode_list(args)
            where = f"{self.signature}: "
            bound = self.signature.bind(*given, **(kwargs or NO_NAMES))
            for name, value in bound.arguments.items():
                where = f": argument {name!r}: "
                kind = self.signature.parameters[name].kind
                if kind is inspect.Parameter.VAR_POSITIONAL:
                    bound.arguments[name] = tuple(self._value(values, name, one) for one in value)
                elif kind is inspect.Parameter.VAR_KEYWORD:
                    bound.arguments[name] = {
                        key: self._value(values, name, one) for key, one in value.items()
                    }
                else:
                    bound.arguments[name] = self._value(values, name, value)
            return bound.args, bound.kwargs
        except BaseException as error:
            raise InvalidArgument(f"{self.name}{where}{described(error)}") from None

    def _item_type(self, name: str, kind: Any) -> tuple[Any] | None:
        """The type of the items as a 1-tuple, if the annotation is a stream; else None."""
        origin = typing.get_origin(kind) or kind
        wanted, other = (_ASYNC, _SYNC[:2]) if self._waits == "async" else (_SYNC, _ASYNC)
        if origin not in _SYNC + _ASYNC or (origin is Iterable and self._waits != "sync"):
            return None
        if self._waits is None:
            raise UsageError(
                f"method {self.name!r} runs on the event loop, where it cannot wait for the items "
                f"of "
                f"{name!r}: leave out inline=True"
            )
        if origin in other:
            raise UsageError(
                f"method {self.name!r}: {name!r} must be {wanted[0].__name__}, not "
                f"{origin.__name__}: "
                "a coroutine takes its items asynchronously, a plain function does not"
            )
        return ((typing.get_args(kind) or (Any,))[0],)

    def _stream(self, values: Unpacker, name: str) -> Streamed:
        if self._waits is None:
            raise TypeError("a method on the event loop cannot wait for a stream")
        if name not in self.streams and self.types[name] is not Any:
            raise TypeError(f"Expected {self.types[name]}, got a stream")
        values.streamed = True
        return Streamed(name, self.streams.get(name, Any))

    def _value(self, values: Unpacker, name: str, raw: Raw) -> Any:
        if is_stream(raw):
            return self._stream(values, name)
        value = values.typed(raw, self.types[name])
        if name not in self.streams:
            return value
        return _each(value) if self._waits == "async" else iter(value)


def read_metadata(method: str, options: CallOptions) -> None:
    """Decode the metadata of a received call. Raises InvalidArgument."""
    if options.metadata:
        try:
            decode_metadata(options)
        except Exception as error:
            raise InvalidArgument(
                f"{method}: the metadata cannot be read: {described(error)}"
            ) from None


async def _each(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item
