"""A service as a Protocol class: `client.typed(Protocol)` gives a type checker its methods and
types."""

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
from typing import Annotated, Any

from ..errors import UsageError, described
from ..protocol.values import typed_decoder
from .calls.fired import CALLBACKS

_ASYNC = (AsyncIterator, AsyncGenerator, AsyncIterable)
_STREAMS = {"blocks": (Iterator, Generator, Iterable), "awaits": _ASYNC, "defers": _ASYNC}
# The form of a method, by the way in which the client delivers results.
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
    """An object with the methods of the Protocol.
    An attribute annotated with another Protocol holds the methods of that one; their names follow
    after a dot. Raises UsageError for a method that this client style cannot provide."""
    if not (inspect.isclass(protocol) and getattr(protocol, "_is_protocol", False)):
        raise UsageError(f"typed() needs a Protocol class, not {protocol!r}")
    methods = TypedMethods(protocol.__name__)
    for name, kind in _hints(protocol, protocol.__name__).items():
        if not name.startswith("_"):
            setattr(
                methods,
                name,
                _part(client, kind, f"{prefix}{name}.", f"{protocol.__name__}.{name}"),
            )
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
            raise UsageError(
                f"{where} is neither a method nor a part (a Protocol class) of the service"
            )
    return methods


def _part(client: Any, kind: Any, prefix: str, where: str) -> Any:
    """A Protocol in a Protocol: methods with a dot in their names."""
    if not getattr(kind, "_is_protocol", False):
        raise UsageError(
            f"{where} is {kind!r}: annotate a part of a service with a Protocol class, or write a "
            f"method"
        )
    return typed_methods(client, kind, prefix)


def _method(client: Any, name: str, function: Callable[..., Any], where: str) -> Callable[..., Any]:
    if function.__qualname__ == "_overload_dummy":
        raise UsageError(
            f"{where} is overloaded, but its results are decoded as one type: write it once, with "
            f"a union"
        )
    returns = _plain(_hints(function, where).get("return", Any))
    if isinstance(returns, typing.TypeVar) or getattr(returns, "__parameters__", None):
        raise UsageError(f"{where} returns a type variable: write the type itself")
    origin = typing.get_origin(returns) or returns
    future = pkgutil.resolve_name(client.future)
    is_future = origin in (future, *future.__bases__) and origin not in (object, typing.Generic)
    way = _way(client.answers, function, returns, is_future=is_future)
    if way is None:
        forms = _FORMS[client.answers].format(name=function.__name__)
        raise UsageError(
            f"{where} is not what this client answers with: write {forms}; "
            f"to fire, def {function.__name__}(..., *, callback=...) -> {future.__name__}[T]"
        )
    if way == "stream" or is_future:
        returns = next(iter(typing.get_args(returns)), Any)
    try:
        typed_decoder(returns)
        view = client.options(returns=returns)
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from None
    return partial(getattr(view, way), name)


def _way(form: str, function: Callable[..., Any], returns: Any, *, is_future: bool) -> str | None:
    """The client's method that fits the function's annotations, or None."""
    parameters = inspect.signature(function).parameters
    callbacks = [parameters[name].kind for name in CALLBACKS if name in parameters]
    awaited = inspect.iscoroutinefunction(function)
    origin = typing.get_origin(returns) or returns
    if any(kind is not inspect.Parameter.KEYWORD_ONLY for kind in callbacks):
        return None
    if any(map(_mentions_future, typing.get_args(returns))):
        return None
    if is_future and not awaited and (callbacks or form != "defers"):
        return "fire"
    if callbacks:
        return None
    if awaited:
        return "call" if form == "awaits" and not _is_future(origin) else None
    if origin in _STREAMS[form]:
        return "stream"
    if form == "defers":
        return "call" if is_future else None
    return "call" if form == "blocks" and not _is_future(origin) else None


def _plain(kind: Any) -> Any:
    """The type inside `Annotated`, if it stands for a future value."""
    inner = typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind
    return inner if _is_future(typing.get_origin(inner) or inner) else kind


def _mentions_future(kind: Any) -> bool:
    """Whether the type is, or contains, a future: a result cannot be one."""
    return _is_future(typing.get_origin(kind) or kind) or any(
        map(_mentions_future, typing.get_args(kind))
    )


def _is_future(origin: Any) -> bool:
    """Whether the type stands for a future value or future values."""
    if _is_deferred(origin) or origin in (*_STREAMS["blocks"], *_ASYNC):
        return True
    return inspect.isclass(origin) and (
        issubclass(origin, Awaitable) or hasattr(origin, "add_done_callback")
    )


def _is_deferred(origin: Any) -> bool:
    return getattr(origin, "__module__", "") == "twisted.internet.defer"


def _hints(of: Any, where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of, include_extras=True)
    except Exception as error:
        raise UsageError(f"the annotations of {where} cannot be read: {described(error)}") from None
