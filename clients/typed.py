"""A service as a Protocol has it: what `client.typed(Protocol)` returns, so that a type checker knows methods, arguments and results."""

from __future__ import annotations

import inspect
import pkgutil
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from functools import partial
from typing import Any

from ..errors import UsageError, described
from .calls.fired import CALLBACKS

_ASYNC = (AsyncIterator, AsyncGenerator, AsyncIterable)
_STREAMS = {"blocks": (Iterator, Generator, Iterable), "awaits": _ASYNC, "defers": _ASYNC}
# How a method is to be written, by how the client answers.
_FORMS = {
    "blocks": "def {name}(...) -> T, or -> Iterator[T] for a stream",
    "awaits": "async def {name}(...) -> T, or def {name}(...) -> AsyncIterator[T] for a stream",
    "defers": "def {name}(...) -> Deferred[T], or -> AsyncIterator[T] for a stream",
}


class TypedMethods:
    """The methods of a Protocol, as attributes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<the methods of {self._name}>"


def typed_methods(client: Any, protocol: Any, prefix: str = "") -> Any:
    """An object with the methods of the Protocol, and with those of Protocols that its attributes are annotated with, whose names follow
    after a dot. Raises UsageError for one that this style of clients cannot be."""
    if not (inspect.isclass(protocol) and getattr(protocol, "_is_protocol", False)):
        raise UsageError(f"typed() needs a Protocol class, not {protocol!r}")
    methods = TypedMethods(protocol.__name__)
    for name, kind in _hints(protocol, protocol.__name__).items():
        if not name.startswith("_"):
            setattr(methods, name, _part(client, kind, f"{prefix}{name}.", f"{protocol.__name__}.{name}"))
    for name, member in inspect.getmembers_static(protocol):
        where = f"{protocol.__name__}.{name}"
        if name.startswith("_"):
            continue
        if inspect.isfunction(member):
            setattr(methods, name, _method(client, f"{prefix}{name}", member, where))
        elif isinstance(member, property) and member.fget is not None:
            kind = _hints(member.fget, where).get("return")
            setattr(methods, name, _part(client, kind, f"{prefix}{name}.", where))
        elif not hasattr(methods, name):
            raise UsageError(f"{where} is neither a method nor a part of the service")
    return methods


def _part(client: Any, kind: Any, prefix: str, where: str) -> Any:
    """A Protocol in a Protocol: methods with a dot in their names."""
    if not getattr(kind, "_is_protocol", False):
        raise UsageError(
            f"{where} is {kind!r}: a part of a service is a Protocol class, and all else a method"
        )
    return typed_methods(client, kind, prefix)


def _method(client: Any, name: str, function: Callable[..., Any], where: str) -> Callable[..., Any]:
    if function.__qualname__ == "_overload_dummy":
        raise UsageError(
            f"{where} is overloaded, and its result could be made only one thing: write it once, with a union"
        )
    returns = _hints(function, where).get("return", Any)
    origin = typing.get_origin(returns) or returns
    future = pkgutil.resolve_name(client.future)
    is_future = origin in (future, *future.__bases__) and origin not in (object, typing.Generic)
    way = _way(client.answers, function, origin, is_future=is_future)
    if way is None:
        forms = _FORMS[client.answers].format(name=function.__name__)
        raise UsageError(
            f"{where} is not what this client answers with: write {forms}; "
            f"to fire, def {function.__name__}(..., callback=...) -> {future.__name__}[T]"
        )
    if way == "stream" or is_future:
        returns = next(iter(typing.get_args(returns)), Any)
    try:
        view = client.options(returns=returns)
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from None
    return partial(getattr(view, way), name)


def _way(form: str, function: Callable[..., Any], origin: Any, *, is_future: bool) -> str | None:
    """The client's method that gives what the function is annotated with; None where there is none."""
    takes_callback = not CALLBACKS.isdisjoint(inspect.signature(function).parameters)
    if is_future and not inspect.iscoroutinefunction(function) and (takes_callback or form != "defers"):
        return "fire"
    if takes_callback:
        return None
    if inspect.iscoroutinefunction(function):
        return "call" if form == "awaits" else None
    if origin in _STREAMS[form]:
        return "stream"
    if form == "defers":
        return "call" if is_future else None
    others = {*_STREAMS["blocks"], *_ASYNC, Awaitable}
    return "call" if form == "blocks" and origin not in others and not _is_deferred(origin) else None


def _is_deferred(origin: Any) -> bool:
    return getattr(origin, "__module__", "") == "twisted.internet.defer"


def _hints(of: Any, where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of, include_extras=True)
    except Exception as error:
        raise UsageError(f"the annotations of {where} cannot be read: {described(error)}") from None
